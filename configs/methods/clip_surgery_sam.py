"""CLIP Surgery (Li et al., 2023), every region redrawn by SAM from a box and a point (Trident's last step).

Not a published pair. No score is too low to be asked about, as feature surgery's confidences are small.
"""

_base_ = ["./clip_surgery.py"]

method = dict(refiner=dict(type="SamPromptRefiner", weights="sam-vit-b", coarse_threshold=0.0, use_mask=False))
