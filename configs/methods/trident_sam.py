"""Trident (Shi et al., 2024) with its last step: SAM redraws every region from box, point and rough mask.

``refiner.coarse_threshold`` is 0.2 on VOC, 0.15 on Context, 0.25 on COCO-Object, 0.05 on COCO-Stuff and ADE20K, 0.1 on
Cityscapes. The refiner is a part like any other: ``refiner=dict(type="SamPromptRefiner", ...)`` follows any method.
"""

_base_ = ["./trident.py"]

method = dict(
    refiner=dict(type="SamPromptRefiner", weights="sam-vit-b", coarse_threshold=0.2),
)
