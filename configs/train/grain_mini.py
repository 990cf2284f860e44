"""GRAIN on clip-mini: queries describe and localize the objects of scenes."""

_base_ = "../alignment_mini.py"
model = dict(
    objective=dict(type="GroundedDescriptions", queries=6, channels=128, layers=2, heads=4, feedforward=256),
    ensemble_ratio=1.0,
)
custom_hooks = [dict(type="AveragedWeightsHook", name="grain-mini")]
