"""CLIPSelf on clip-mini: cells of scenes become what their crops are to the frozen tower; no words."""

_base_ = "../alignment_mini.py"
model = dict(
    objective=dict(type="CropDistillation", most=4, regions=8),
    keep=0.7,
)
custom_hooks = [dict(type="AveragedWeightsHook", name="clipself-mini")]
