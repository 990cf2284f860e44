"""ViLD-ensemble (Gu et al., ICLR 2022): a text branch and a branch distilled from CLIP's crop embeddings.

The image branch contributes one third of the score of base classes and two thirds of that of novel ones. The bundled
heads have both branches; ``configs/train/vild.py`` trains the published setting on a ResNet.
"""

method = dict(
    task="detection",
    heads="fvlm-mini",
    tiler=dict(type="Tiler", short_side_px=1024, max_long_side_px=1333),
    vlm=dict(kind="off"),
    fusion=dict(policy="vild", base=1 / 3, novel=2 / 3, scale=100.0),
    rpn=dict(before=(1000, 1000), after=(1000, 1000), rpn_iou=0.7),
    nms_iou=0.5,
    max_detections=300,
    min_score=0.0,
    templates="openai80",
    supervision="boxes and masks of base classes, CLIP's embeddings of crops; CLIP's image-text pairs",
)
