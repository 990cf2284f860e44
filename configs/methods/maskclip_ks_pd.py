"""MaskCLIP (Zhou et al., ECCV 2022) with its two refinements: prompt denoising, then key smoothing.

Thresholds of the paper. Scores of a class then depend on which other classes are asked. Departure: keys are compared by
cosine over channels, as the paper says (the released code normalises over tokens: ``norm_axis="token"``).
"""

_base_ = ["./maskclip.py"]

method = dict(
    logit_rule=dict(
        type="RuleChain",
        rules=[dict(type="PromptDenoising", threshold=0.5), dict(type="KeySmoothing", threshold=1.0)],
    ),
)
