"""NACLIP (Hajimiri et al., WACV 2025): k-k attention with a Gaussian neighbourhood prior, simplified last block.

Tiles of 224 px with stride 112 at short side 336 (Cityscapes 560); VOC runs on full images. Background threshold
0.1 on benchmarks with a background class. The paper reports it with and without PAMR: see ``naclip_pamr``.
"""

method = dict(
    pos_embed="scale",
    readout=dict(
        type="BlockReadout",
        affinity=dict(type="NeighbourAttention", pairs=("kk",), sigma=5.0),
        residual=False,
        ffn=False,
    ),
    tiler=dict(type="Tiler", short_side_px=336, crop_px=224, stride_px=112),
    templates="openai80",
    classifier=dict(logit_scale=40.0),
)
