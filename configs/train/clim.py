"""CLIM (Wu et al., AAAI 2024) on COCO captions, with the schedule of the released ViT-B/16.

4 processes with batch size 32 (``torchrun --nproc-per-node 4``) and averaged gradients, 100 epochs. The authors' loop
does not average, so the released weights come from the gradients of one process: use one process to reproduce them.
"""

_base_ = "../alignment.py"
iterations = 118287 * 100 // 128
model = dict(
    clip=dict(arch="ViT-B-16", weights="openai"),
    objective=dict(type="MosaicContrast", mosaic_px=1024, sides=(2, 3, 4), singles=True),
    trained_blocks=6,
)
train_dataloader = dict(
    dataset=dict(dataset=dict(annotations="data/coco/annotations/captions_train2017.json", size_px=224)),
    batch_size=32,
)
train_cfg = dict(max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=1000),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=1000, end=iterations),
]
custom_hooks = [dict(type="AveragedWeightsHook", name="clim-vitb16")]
