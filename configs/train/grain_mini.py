"""GRAIN's objective on clip-mini: queries describe and locate the objects of scenes."""

_base_ = "../world.py"
custom_imports = dict(
    imports=[
        "ovperc.tasks.alignment",
        "ovperc.tasks.alignment_decoders",
        "ovperc.tasks.alignment_weights",
        "ovperc.data.world.scene_texts",
        "ovperc.data.world.contrastive",
    ],
    allow_failed_imports=False,
)
iterations = 600
model = dict(
    type="RegionAlignment",
    clip=dict(arch="clip-mini", weights="clip-mini"),
    objective=dict(type="GroundedDescriptions", queries=6, channels=128, layers=2, heads=4, feedforward=256),
    trained_blocks=3,
    keep=1.0,
)
train_dataloader = dict(dataset=dict(type="WorldSceneTexts", length=iterations, seed=101, scenes=16))
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=3e-4, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.03, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=30, end=iterations),
]
default_hooks = dict(checkpoint=dict(interval=100))
custom_hooks = [dict(type="AveragedWeightsHook", name="grain-mini")]
