"""ProxyCLIP (Lan et al., ECCV 2024): attention from DINO similarities in the last block, no residual, no feed-forward.

DINO ViT-B/8 is the default of the paper; ``guide.weights=dino-vitb16`` is several times faster. Tiles of 336 px with
stride 112 at short side 336 (Cityscapes 448 with tiles of 224). Background threshold 0.2 on
VOC21, 0.15 on Context60, 0.25 on COCO-Object. Departures: a patch always attends to itself (the released code returns
NaN on blank tiles), positional embeddings are resized in float32, and tiles need not be square.

On clip-mini the affinity acts in CLIP Surgery's dual path instead.
"""

method = dict(
    pos_embed="scale",
    readout=dict(type="BlockReadout", affinity=dict(type="GuideAffinity"), residual=False, ffn=False),
    guide=dict(type="DinoGuide", weights="dino-vitb8"),
    tiler=dict(type="Tiler", short_side_px=336, crop_px=336, stride_px=112, pad="symmetric", pad_multiple_px=56),
    templates="openai80",
    classifier=dict(logit_scale=40.0),
)
