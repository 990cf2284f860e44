"""Alignment of published towers with the recipe shared by CLIM and CLIPSelf: ``_base_ = "../alignment.py"``."""

_base_ = "./runtime.py"
model = dict(type="RegionAlignment", ensemble_ratio=0.7)
train_dataloader = dict(
    dataset=dict(type="SeededDataset", dataset=dict(type="CaptionPictures", root="data/coco/train2017"), seed=0),
    num_workers=8,
    sampler=dict(type="PositionSampler", shuffle=True, seed=0),
    collate_fn=dict(type="ovperc.region_text_batch"),
)
train_cfg = dict(type="ResumableTrainLoop")
optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-5, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(log_scale=dict(decay_mult=0.0))),
)
