"""GEM (Bousselham et al., CVPR 2024): self-self attention of normalised q, k and v, summed over the last seven blocks.

Tiling and logit scale follow ClearCLIP's comparison (Lan et al., ECCV 2024): tiles of 448 px with stride 224 at short
side 448.
"""

method = dict(
    pos_embed="size_aa",
    readout=dict(type="DualPathReadout", affinity=dict(type="EnsembleAttention"), layers=7),
    tiler=dict(type="Tiler", short_side_px=448, crop_px=448, stride_px=224),
    templates="openai80",
    classifier=dict(logit_scale=50.0),
)
