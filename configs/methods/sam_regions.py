"""Training-free detection: SAM proposes regions, CLIP classifies them.

SAM is prompted with a grid of points; each region is cropped with some context and scored by CLIP, times the square
root of SAM's predicted IoU. List the materials of the ground as ``background``, so that their regions are not assigned
to a class.
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
