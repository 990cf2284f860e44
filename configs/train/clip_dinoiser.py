"""CLIP-DINOiser (Wysoczanska et al., ECCV 2024): the paper's schedule, on a folder of images.

1000 images of ImageNet's training set (drawn with replacement, seed 0), 448 px, batch 16, about 6300 iterations.
Set the dataset's ``root`` to your folder, and ``decoder`` to FOUND's decoder:
``--set train_dataloader.dataset.dataset.root=... model.foreground.decoder=...``.
"""

_base_ = ["../runtime.py"]
model = dict(
    type="DinoiserTraining",
    clip=dict(arch="ViT-B-16", weights="laion2b_s34b_b88k"),
    dino=dict(weights="dino-vitb16"),
    foreground=dict(
        type="FoundTeacher", weights="dino_deitsmall8_300ep_pretrain.pth", decoder="data/weights/decoder_weights.pt"
    ),
)
train_dataloader = dict(
    dataset=dict(
        type="SeededDataset",
        dataset=dict(type="PictureFolder", root="data/imagenet/train", size_px=448, sample=1000, seed=0),
    ),
    batch_size=16,
    num_workers=4,
    sampler=dict(type="PositionSampler", shuffle=True, seed=0),
    collate_fn=dict(type="default_collate"),
)
train_cfg = dict(type="ResumableTrainLoop", max_iters=6300)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=5e-5, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={"bkg_decoder": dict(lr_mult=200.0)}),
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=False, milestones=[5000], gamma=0.1)]
custom_hooks = [dict(type="ExportWeightsHook", name="clip-dinoiser")]
