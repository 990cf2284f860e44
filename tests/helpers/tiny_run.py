"""A Runner config that trains in a second: random augmentation, dropout, momentum, a schedule."""

custom_imports = {"imports": ["helpers.tiny_training"]}
default_scope = "ovperc"
model = {"type": "DropoutRegressor"}
train_dataloader = {
    "dataset": {"type": "SeededDataset", "dataset": {"type": "NoisyLines"}},
    "sampler": {"type": "PositionSampler"},
    "collate_fn": {"type": "default_collate"},
    "batch_size": 4,
    "num_workers": 0,
}
train_cfg = {"type": "ResumableTrainLoop", "max_iters": 20}
optim_wrapper = {"optimizer": {"type": "AdamW", "lr": 0.01}}
param_scheduler = [{"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 20}]
default_hooks = {"checkpoint": {"type": "ResumableCheckpointHook", "interval": 5, "by_epoch": False}}
log_processor = {"by_epoch": False}
randomness = {"seed": 0}
