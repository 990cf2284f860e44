"""sam-mini: masks from point, box and mask prompts on the procedural world, on one CPU core."""

_base_ = "../world.py"
iterations = 1100
model = dict(
    type="PromptableSegmenter",
    sam=dict(
        width=128,
        depth=4,
        num_heads=4,
        patch_px=8,
        image_px=112,
        window=7,
        global_layers=(1, 3),
        mlp_ratio=4.0,
        channels=64,
        mask_channels=16,
        decoder_layers=2,
        decoder_mlp=256,
        masks=3,
        iou_layers=3,
        iou_width=64,
    ),
)
train_dataloader = dict(
    dataset=dict(type="WorldPrompts", length=iterations, seed=0, scenes=16, prompts=6, style=dict(grey_share=0.1)),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(
    constructor="MuonConstructor",
    optimizer=dict(
        type="MuonAdamW",
        matrix_lr=2.5e-3,
        matrix_decay=0.02,
        lr=1e-3,
        blocks=("blocks.", "transformer.layers."),
    ),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="LinearLR", start_factor=1.0, end_factor=0.01, by_epoch=False, begin=int(0.4 * iterations), end=iterations
    ),
]
default_hooks = dict(checkpoint=dict(interval=100))
custom_hooks = [
    dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=4e-3, update_buffers=True),
    dict(type="ExportWeightsHook", name="sam-mini", arch="segment-anything, width 128, depth 4, 64 channels"),
]
