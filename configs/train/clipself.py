"""CLIPSelf (Wu et al., ICLR 2024) on COCO's pictures, no texts and no boxes: the schedule of the released EVA-02 B/16.

As intended: 8 processes of 2 pictures, gradients averaged; one process repeats the authors' loop, which skips that.
6 epochs. Set ``model.clip.weights`` to EVA-CLIP's file. Pictures are cropped to squares here, the authors pad them.
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
