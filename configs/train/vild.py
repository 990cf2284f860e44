"""ViLD-ensemble on OV-COCO: a ResNet-50 FPN trained from scratch, a text branch and a branch distilled from CLIP.

First store the teacher's embeddings: ``python tools/store_teacher.py data/coco/train2017 --out data/teacher/coco
--method sam_regions --weights ViT-B-32/openai`` (the authors use proposals of a detector trained on base classes:
``--method FILE`` with its method config). ``heads.distill="shared"`` is ViLD; without ``distill`` it is
ViLD-text. The published schedule is 180,000 steps of 256 images at 1024 px with SGD 0.32.
"""

_base_ = ["../runtime.py"]
model = dict(
    type="OpenVocabDetector",
    clip=dict(arch="ViT-B-32", weights="openai"),
    vocabularies="ov_coco_base",
    backbone="resnet50",
    heads=dict(
        channels=256,
        rpn_convs=2,
        box_convs=4,
        box_fc=(1024, 1024),
        embed_dim=512,
        scale=100.0,
        learn_scale=False,
        distill="separate",
    ),
    samples=512,
    background_weight=1.0,
    distill=dict(weight=0.5, loss="l1", regions=300, crop_px=224, contexts=(1.0, 1.5)),
)
train_dataloader = dict(
    dataset=dict(
        type="SeededDataset",
        dataset=dict(
            type="DetectionTraining",
            benchmark="ov-coco",
            vocabularies="ov_coco_base",
            options=dict(root="data/coco", split="train"),
            size_px=1024,
            teacher="data/teacher/coco",
        ),
    ),
    batch_size=16,
    num_workers=8,
    sampler=dict(type="PositionSampler", shuffle=True, seed=0),
    collate_fn=dict(type="ovperc.join_batches"),
)
train_cfg = dict(type="ResumableTrainLoop", max_iters=180000)
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=4e-5),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", by_epoch=False, milestones=[162000, 171000, 175500], gamma=0.1),
]
custom_hooks = [dict(type="ExportWeightsHook", name="vild", arch="ViT-B-32")]
