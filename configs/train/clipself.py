"""CLIPSelf (Wu et al., ICLR 2024) on COCO's pictures, no texts and no boxes: the schedule of the released EVA-02 B/16.

As intended: 8 processes of 2 pictures, gradients averaged; one process repeats the authors' loop, which skips that.
6 epochs. Set ``model.clip.weights`` to EVA-CLIP's file. Pictures are cropped to squares here, the authors pad them.
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
iterations = 118287 * 6 // 16
model = dict(
    type="RegionAlignment",
    clip=dict(arch="EVA02-B-16", weights="merged2b_s8b_b131k"),
    objective=dict(type="CropDistillation", student_px=1024),
    trained_blocks=12,
    keep=0.7,
)
train_dataloader = dict(
    dataset=dict(
        type="SeededDataset", dataset=dict(type="CaptionPictures", root="data/coco/train2017", size_px=1024), seed=0
    ),
    batch_size=2,
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
custom_hooks = [dict(type="AveragedWeightsHook", name="clipself-eva02-b16")]
