"""CLIP Surgery (Li et al., 2023), with regions refined by SAM from box and point prompts (as in Trident).

Not a published combination. There is no score threshold, because feature surgery's confidences are small.
"""

_base_ = ["./clip_surgery.py"]

method = dict(refiner=dict(type="SamPromptRefiner", weights="sam-vit-b", coarse_threshold=0.0, use_mask=False))
