"""F-VLM (Kuo et al., ICLR 2023): a frozen CLIP tower, heads trained on base classes, and CLIP region scores.

The published weights of base and novel classes are 0.35 and 0.65. The bundled heads belong to clip-mini; for another
tower train your own (``configs/train/fvlm.py``) and pass ``heads=FILE``.
"""

method = dict(
    task="detection",
    heads="fvlm-mini",
    tiler=dict(type="Tiler", short_side_px=640, max_long_side_px=1066),
    vlm=dict(kind="dense"),
    fusion=dict(policy="fvlm", base=0.35, novel=0.65, scale=100.0),
    rpn=dict(before=(1000, 1000), after=(1000, 300), rpn_iou=0.7),
    nms_iou=0.5,
    max_detections=100,
    min_score=0.001,
    templates="openai80",
    supervision="boxes and masks of base classes; CLIP's image-text pairs",
)
