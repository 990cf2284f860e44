"""dinoiser-mini: CLIP-DINOiser's heads for clip-mini, trained with dino-mini on the procedural world.

The recipe of ``clip_dinoiser.py`` with a shorter schedule, a higher learning rate and no FOUND: foreground is what
differs from the image border. The similarity threshold is a cosine of 0.8, because two patches of a scene have 0.57 on
average under dino-mini, so that the paper's 0.2 would accept nearly all pairs.
"""

_base_ = "../world.py"
iterations = 400
model = dict(
    type="DinoiserTraining",
    clip=dict(arch="clip-mini", weights="clip-mini"),
    dino=dict(weights="dino-mini"),
    foreground=dict(type="BorderTeacher", weights="dino-mini", threshold=0.8),
    channels=128,
    threshold=0.8,
)
train_dataloader = dict(
    dataset=dict(type="WorldViewPairs", length=iterations, seed=1, scenes=8, window_px=112),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={"bkg_decoder": dict(lr_mult=20.0)}),
)
param_scheduler = [
    dict(type="MultiStepLR", by_epoch=False, milestones=[int(0.8 * iterations)], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(interval=100))
custom_hooks = [dict(type="ExportWeightsHook", name="dinoiser-mini", arch="clip-mini")]
