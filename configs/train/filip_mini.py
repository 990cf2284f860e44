"""FILIP's token-wise contrast on clip-mini: patches and words of captions look for each other."""

_base_ = "../alignment_mini.py"
custom_imports = dict(
    imports=[
        "ovperc.tasks.alignment",
        "ovperc.tasks.alignment_objectives",
        "ovperc.tasks.alignment_weights",
        "ovperc.data.world.scene_texts",
        "ovperc.data.world.contrastive",
    ],
    allow_failed_imports=False,
)
model = dict(
    objective=dict(type="TokenContrast", channels=64),
    keep=0.7,
)
custom_hooks = [dict(type="AveragedWeightsHook", name="filip-mini")]
