"""MaskCLIP (Zhou et al., ECCV 2022) with its two refinements: prompt denoising, then key smoothing.

Thresholds of the paper. The scores of a class depend on the rest of the vocabulary. Departure: keys are compared by
cosine over channels, as in the paper (the released code normalises over tokens: ``norm_axis="token"``).
"""

_base_ = ["./maskclip.py"]

method = dict(
    weights=None,  # keys are an attention's: photo-mini has none
    logit_rule=dict(
        type="RuleChain",
        rules=[dict(type="PromptDenoising", threshold=0.5), dict(type="KeySmoothing", threshold=1.0)],
    ),
)
