"""Training-free panoptic segmentation: CLIP Surgery's map, and SAM masks classified by its embeddings.

Not a published combination. Masks from a point grid are classified by the mean of CLIP Surgery's embeddings in them,
scored by predicted IoU times probability, and merged with the stuff of the map by the heuristic of Kirillov et al.
(Panoptic Segmentation, CVPR 2019). ``min_stuff_area`` is panopticapi's 64 x 64 px as a share of a COCO image.
"""

_base_ = ["./clip_surgery.py"]

method = dict(
    task="panoptic",
    proposer=dict(
        type="SamEverything",
        weights="sam-vit-b",
        points=32,
        min_quality=0.88,
        min_stability=0.9,
    ),
    merge=dict(min_score=0.3, max_overlap=0.5, min_stuff_area=0.013),
)
