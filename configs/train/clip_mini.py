"""clip-mini: contrastive image-text training on the procedural world, on one CPU core."""

_base_ = "../world.py"
iterations = 3600
harder = dict(scenes=8, grey_share=0.25, grey_ground=0.4, few_looks=0.6)
model = dict(type="ContrastiveDualEncoder")
train_dataloader = dict(
    dataset=dict(
        type="WorldCaptions",
        length=iterations,
        seed=0,
        stages=[
            dict(begin=0, scene_every=4),
            dict(begin=1080),
            # By now colour alone distinguishes most images: remove it from grounds, and vary shapes only.
            dict(begin=1750, **harder),
            # Then show materials alone, mostly grey, and finally with uninformative contrast.
            dict(begin=2250, **harder, grounds=24),
            dict(begin=2750, **harder, grounds=24, grey_contrast=(8.0, 45.0)),
        ],
    ),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(
    constructor="MuonConstructor",
    optimizer=dict(type="MuonAdamW", matrix_lr=2e-3, matrix_decay=0.02, lr=1e-3),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=150),
    dict(type="LinearLR", start_factor=1.0, end_factor=0.01, by_epoch=False, begin=2550, end=iterations),
]
default_hooks = dict(checkpoint=dict(interval=125))
custom_hooks = [dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=2e-3, update_buffers=True)]
