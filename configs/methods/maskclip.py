"""MaskCLIP (Zhou et al., ECCV 2022): value embeddings of the last block, without attention.

Residual and feed-forward are kept, as in the released code. Departures: the tower's own activation, LayerNorm
epsilon and image mean/std (the official configs pair QuickGELU weights with exact GELU, 1e-6 and ImageNet statistics;
``preprocess=dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))`` restores the last, which costs accuracy),
and a logit scale of 100 where the official code takes the softmax of raw cosines: labels are the same, confidences
are meaningful. Official sizes: short side 512; Pascal Context 520; Cityscapes 1024 x 512.
"""

method = dict(
    pos_embed="size",
    readout=dict(type="BlockReadout", affinity=dict(type="Identity"), residual=True, ffn=True),
    tiler=dict(type="Tiler", short_side_px=512, pad="end"),
    templates="openai85",
    classifier=dict(logit_scale=100.0),
    weights="photo-mini",
)
