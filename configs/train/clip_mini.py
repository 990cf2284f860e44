"""clip-mini: image-text contrast on the procedural world, made to run on one CPU core."""

default_scope = "ovperc"
custom_imports = dict(
    imports=["ovperc.tasks.contrastive", "ovperc.data.world.contrastive", "ovperc.engine.muon"],
    allow_failed_imports=False,
)
iterations = 3600
model = dict(type="ContrastiveDualEncoder")
train_dataloader = dict(
    dataset=dict(type="WorldCaptions", length=iterations, seed=0, windows=64, scenes=12),
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="ovperc.only_item"),
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations)
optim_wrapper = dict(
    constructor="MuonConstructor",
    optimizer=dict(type="MuonAdamW", matrix_lr=2e-3, matrix_decay=0.02, lr=1e-3),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=150),
    dict(
        type="LinearLR", start_factor=1.0, end_factor=0.01, by_epoch=False, begin=int(0.5 * iterations), end=iterations
    ),
]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=50),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=250, max_keep_ckpts=2),
)
custom_hooks = [dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=2e-3, update_buffers=True)]
log_processor = dict(by_epoch=False, window_size=50)
randomness = dict(seed=0)
env_cfg = dict(mp_cfg=dict(mp_start_method="fork"))
