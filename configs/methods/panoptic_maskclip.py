"""Panoptic surgery with MaskCLIP's embeddings in place of CLIP Surgery's: the fastest, on any tower, ResNets too.

Not a published pair.
"""

_base_ = ["./panoptic_surgery.py"]

method = dict(
    task="panoptic",
    pos_embed="size",
    readout=dict(_delete_=True, type="BlockReadout", affinity=dict(type="Identity"), residual=True, ffn=True),
    tiler=dict(short_side_px=512, pad="end"),
    logit_rule=None,
)
