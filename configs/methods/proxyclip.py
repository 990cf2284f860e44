"""ProxyCLIP (Lan et al., ECCV 2024): the last block attends by DINO's similarities, without residual and feed-forward.

DINO ViT-B/8 is the default of the paper; ``guide.weights=dino-vitb16`` is several times faster. Windows of 336 px with
stride 112 at short side 336 (Cityscapes 448 in windows of 224). Background threshold 0.2 on
VOC21, 0.15 on Context60, 0.25 on COCO-Object. Departures: a patch always sees itself (the released code answers NaN on
blank windows), position tables are resized in float32, and windows need not be square.

``stream`` holds for towers that need their residual stream (clip-mini): DINO's matrix takes the place of v-v attention
in CLIP Surgery's path beside the tower, which keeps the stream that the published readout drops. ``stream={}`` gives
the published readout there too.
"""

method = dict(
    pos_embed="scale",
    readout=dict(type="BlockReadout", affinity=dict(type="GuideAffinity"), residual=False, ffn=False),
    guide=dict(type="DinoGuide", weights="dino-vitb8", mini="dino-mini"),
    tiler=dict(type="Tiler", short_side_px=336, crop_px=336, stride_px=112, pad="symmetric", pad_multiple_px=56),
    templates="openai80",
    classifier=dict(logit_scale=40.0),
    stream=dict(
        readout=dict(type="DualPathReadout", affinity=dict(type="GuideAffinity", gamma=20.0), layers=6),
        guide=dict(type="DinoGuide", weights="dino-vitb8", mini="dino-mini", zoom=1.5),
        classifier=dict(logit_scale=100.0),
        logit_rule=dict(type="FeatureSurgery"),
    ),
)
