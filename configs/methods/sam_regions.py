"""Training-free detection: segment-anything finds regions, frozen CLIP names them.

Regions are everything SAM finds at a grid of points; each is cut out with some of its surroundings and scored by CLIP,
times the square root of SAM's predicted IoU. Name what the ground is made of as ``background``, so that regions of it
are not forced into a word.
"""

method = dict(
    task="detection",
    proposer=dict(
        type="SamEverything",
        weights="sam-vit-b",
        points=32,
        min_quality=0.88,
        min_stability=0.9,
    ),
    tiler=dict(type="Tiler", short_side_px=640, max_long_side_px=1066),
    vlm=dict(kind="crops", context=1.25),
    fusion=dict(policy="vlm", scale=100.0, objectness=0.5),
    nms_iou=0.5,
    max_detections=100,
    min_score=0.001,
    templates="openai80",
    supervision="none beyond SAM's masks and CLIP's image-text pairs",
)
