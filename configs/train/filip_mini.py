"""FILIP's token-wise contrast on clip-mini: patches and words of captions look for each other."""

_base_ = "../alignment_mini.py"
model = dict(
    objective=dict(type="TokenContrast", channels=64),
    keep=0.7,
)
custom_hooks = [dict(type="AveragedWeightsHook", name="filip-mini")]
