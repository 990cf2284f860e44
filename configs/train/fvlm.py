"""F-VLM / F-ViT on OV-COCO: a frozen CLIP ViT-B/16 with a simple feature pyramid, heads trained on the 48 base classes.

Sizes and schedule of F-ViT (Wu et al., ICLR 2024): 640 px, 3 epochs of 64 images, AdamW 1e-4, no learning
rate decay, which keeps the heads from overfitting to base classes. Set ``root`` to COCO's folder. For CLIPSelf or
CLIM towers: ``--set model.clip.weights=FILE``.
"""

_base_ = ["../runtime.py"]
model = dict(
    type="OpenVocabDetector",
    clip=dict(arch="ViT-B-16", weights="openai"),
    vocabularies="ov_coco_base",
    heads=dict(layers=(3, 5, 7, -1), scales=(4, 2, 1, 0.5), channels=256, rpn_convs=2, box_convs=4, box_fc=(512, 512)),
    samples=512,
    background_weight=0.6,
)
train_dataloader = dict(
    dataset=dict(
        type="SeededDataset",
        dataset=dict(
            type="DetectionTraining",
            benchmark="ov-coco",
            vocabularies="ov_coco_base",
            options=dict(root="data/coco", split="train"),
            size_px=640,
        ),
    ),
    batch_size=64,
    num_workers=8,
    sampler=dict(type="PositionSampler", shuffle=True, seed=0),
    collate_fn=dict(type="ovperc.join_batches"),
)
train_cfg = dict(type="ResumableTrainLoop", max_iters=5040)
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, weight_decay=0.1),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=250)]
custom_hooks = [dict(type="ExportWeightsHook", name="fvlm", arch="ViT-B-16")]
