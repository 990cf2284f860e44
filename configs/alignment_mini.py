"""Alignment of clip-mini on captioned scenes of the world, with any objective: ``_base_ = "../alignment_mini.py"``."""

_base_ = "./world.py"
iterations = 600
model = dict(
    type="RegionAlignment",
    clip=dict(arch="clip-mini", weights="clip-mini"),
    trained_blocks=3,
)
train_dataloader = dict(dataset=dict(type="WorldSceneTexts", length=iterations, seed=101, scenes=16))
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=3e-4, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.03, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=30, end=iterations),
]
default_hooks = dict(checkpoint=dict(interval=100))
