"""Locality alignment on clip-mini: patch tokens predict masked views; the result is an image tower."""

_base_ = "../alignment_mini.py"
model = dict(
    objective=dict(type="MaskedReconstruction", sigma=1.0),
    ensemble_ratio=1.0,
)
custom_hooks = [dict(type="AveragedWeightsHook", name="locality-mini")]
