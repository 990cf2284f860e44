"""CLIM (Wu et al., AAAI 2024) on COCO's captions: the schedule of the released ViT-B/16.

As intended: 4 processes of 32 pictures (``torchrun --nproc-per-node 4``), gradients averaged. The authors' loop skips
that, so the released weights have seen one process's gradients: start one process to repeat it. 100 epochs.
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
