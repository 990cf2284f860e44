"""Runs on the procedural world: ready batches, made one by one in the process that trains."""

_base_ = "./runtime.py"
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="PositionSampler", shuffle=False, seed=0),
    collate_fn=dict(type="ovperc.only_item"),
)
train_cfg = dict(type="ResumableTrainLoop")
