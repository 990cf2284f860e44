"""fvlm-mini: detection heads on the frozen clip-mini, trained on base pairs of the procedural world.

F-VLM (Kuo et al., ICLR 2023) with a second region head distilled from CLIP's crop embeddings, the image branch of
ViLD-ensemble (Gu et al., ICLR 2022). No image and no text of the run contains a held-out pair.
"""

_base_ = "../world.py"
iterations = 600
model = dict(
    type="OpenVocabDetector",
    clip=dict(arch="clip-mini", weights="clip-mini"),
    vocabularies="world_phrases",
    templates="world",
    heads=dict(
        layers=(1, -1),
        scales=(2, 1),
        channels=64,
        anchor_scale=6.0,
        anchor_ratios=(0.7, 1.4),
        rpn_convs=1,
        box_convs=1,
        box_fc=(192,),
        mask_convs=2,
        scale=20.0,
        distill="separate",
    ),
    proposals=dict(before=(300, 200), after=(100, 100), rpn_samples=128),
    samples=32,
    positive_share=0.4,
    mask_samples=4,
    distill=dict(weight=1.0, loss="cosine", regions=4, crop_px=48, contexts=(1.35,)),
    compose=True,
)
train_dataloader = dict(
    dataset=dict(type="WorldDetectionBatches", length=iterations, seed=0, scenes=12, style=dict(grey_share=0.3)),
    collate_fn=dict(type="ovperc.join_batches", _delete_=True),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.02),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(
        type="LinearLR", start_factor=1.0, end_factor=0.02, by_epoch=False, begin=int(0.5 * iterations), end=iterations
    ),
]
default_hooks = dict(checkpoint=dict(interval=20))
custom_hooks = [
    dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=5e-3, update_buffers=True),
    dict(type="ExportWeightsHook", name="fvlm-mini", arch="clip-mini"),
]
