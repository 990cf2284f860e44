"""CLIM (Wu et al., AAAI 2024) on COCO's captions: the schedule of the released ViT-B/16.

As intended: 4 processes of 32 pictures (``torchrun --nproc-per-node 4``), gradients averaged. The authors' loop skips
that, so the released weights have seen one process's gradients: start one process to repeat it. 100 epochs.
"""

_base_ = "../runtime.py"
custom_imports = dict(
    imports=[
        "ovperc.tasks.alignment",
        "ovperc.tasks.alignment_objectives",
        "ovperc.tasks.alignment_weights",
        "ovperc.data.captions",
        "ovperc.data.region_text",
    ],
    allow_failed_imports=False,
)
iterations = 118287 * 100 // 128
model = dict(
    type="RegionAlignment",
    clip=dict(arch="ViT-B-16", weights="openai"),
    objective=dict(type="MosaicContrast", mosaic_px=1024, sides=(2, 3, 4), singles=True),
    trained_blocks=6,
    keep=0.7,
)
train_dataloader = dict(
    dataset=dict(
        type="SeededDataset",
        dataset=dict(
            type="CaptionPictures",
            root="data/coco/train2017",
            annotations="data/coco/annotations/captions_train2017.json",
            size_px=224,
        ),
        seed=0,
    ),
    batch_size=32,
    num_workers=8,
    sampler=dict(type="PositionSampler", shuffle=True, seed=0),
    collate_fn=dict(type="ovperc.region_text_batch"),
)
train_cfg = dict(type="ResumableTrainLoop", max_iters=iterations)
optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-5, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(log_scale=dict(decay_mult=0.0))),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=1000),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=1000, end=iterations),
]
custom_hooks = [dict(type="AveragedWeightsHook", name="clim-vitb16")]
