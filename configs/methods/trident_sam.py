"""Trident (Shi et al., 2024) with its last step: regions refined by SAM from box, point and mask prompts.

``refiner.coarse_threshold`` is 0.2 on VOC, 0.15 on Context, 0.25 on COCO-Object, 0.05 on COCO-Stuff and ADE20K, 0.1 on
Cityscapes. The refiner works with any method: ``refiner=dict(type="SamPromptRefiner", ...)``.
"""

_base_ = ["./trident.py"]

method = dict(
    refiner=dict(type="SamPromptRefiner", weights="sam-vit-b", coarse_threshold=0.2),
)
