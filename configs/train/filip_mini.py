"""FILIP on clip-mini: token-wise contrastive alignment of patches and caption words."""

_base_ = "../alignment_mini.py"
model = dict(
    objective=dict(type="TokenContrast", channels=64),
    ensemble_ratio=0.7,
)
custom_hooks = [dict(type="AveragedWeightsHook", name="filip-mini")]
