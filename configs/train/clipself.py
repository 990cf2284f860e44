"""CLIPSelf (Wu et al., ICLR 2024) on COCO images without labels, with the schedule of the released EVA-02 B/16.

8 processes with batch size 2 and averaged gradients, 6 epochs; one process reproduces the authors' loop, which does
not average. Set ``model.clip.weights`` to EVA-CLIP's file. Images are cropped to squares (the authors pad them).
"""

_base_ = "../alignment.py"
iterations = 118287 * 6 // 16
model = dict(
    clip=dict(arch="EVA02-B-16", weights="merged2b_s8b_b131k"),
    objective=dict(type="CropDistillation", student_px=1024),
    trained_blocks=12,
)
train_dataloader = dict(dataset=dict(dataset=dict(size_px=1024)), batch_size=2)
train_cfg = dict(max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=1000),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=1000, end=iterations),
]
custom_hooks = [dict(type="AveragedWeightsHook", name="clipself-eva02-b16")]
