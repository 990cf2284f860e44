"""CLIPSelf on clip-mini: region features distilled from the frozen tower's crop embeddings, without text."""

_base_ = "../alignment_mini.py"
model = dict(
    objective=dict(type="CropDistillation", most=4, regions=8),
    ensemble_ratio=0.7,
)
custom_hooks = [dict(type="AveragedWeightsHook", name="clipself-mini")]
