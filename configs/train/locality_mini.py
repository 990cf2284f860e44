"""Locality alignment on clip-mini: tokens must tell what masked views look like; the result is a backbone."""

_base_ = "../alignment_mini.py"
model = dict(
    objective=dict(type="MaskedReconstruction", sigma=1.0),
    keep=1.0,
)
custom_hooks = [dict(type="AveragedWeightsHook", name="locality-mini")]
