"""SCLIP (Wang et al., ECCV 2024): correlative self-attention, softmax(qq) + softmax(kk), in the last block.

Residual and feed-forward are kept; tiles of 224 px with stride 112 at short side 336 (Cityscapes 560, COCO-Stuff
164k 448). Background threshold 0.1 on benchmarks with a background class; scale 65 on VOC21, 50 on Context60 and
COCO-Object. PAMR is an option of the paper, off by default. Departures: a tile with as many patches as the position
table but of another shape gets a resized table (the released code adds the table as it is); with ``tiler.crop_px=0``
maps reach the original size in two steps, see ``clip_surgery``.
"""

method = dict(
    pos_embed="scale",
    readout=dict(type="BlockReadout", affinity=dict(type="SelfAttention", pairs=("qq", "kk")), residual=True, ffn=True),
    tiler=dict(type="Tiler", short_side_px=336, crop_px=224, stride_px=112),
    templates="openai80",
    classifier=dict(logit_scale=40.0),
)
