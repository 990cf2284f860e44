"""dino-mini: self-distillation on unlabelled images of the procedural world, on one CPU core.

The schedule is designed for 1300 steps; training was stopped at 900, and the rest is untested.
"""

_base_ = "../world.py"
iterations = 1300
model = dict(type="SelfDistillation", arch="dino-mini", max_steps=iterations)
train_dataloader = dict(
    dataset=dict(type="WorldViewPairs", length=iterations, seed=0, scenes=24, style=dict(grey_share=0.1)),
)
train_cfg = dict(max_iters=900)
optim_wrapper = dict(
    constructor="MuonConstructor",
    optimizer=dict(type="MuonAdamW", matrix_lr=1.5e-3, matrix_decay=0.02, lr=1e-3),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=80),
    dict(
        type="LinearLR", start_factor=1.0, end_factor=0.01, by_epoch=False, begin=int(0.4 * iterations), end=iterations
    ),
]
default_hooks = dict(checkpoint=dict(interval=100))
custom_hooks = [dict(type="ExportWeightsHook", name="dino-mini", arch="dino-mini")]
