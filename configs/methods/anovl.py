"""AnoVL (Deng et al., 2023) without adaptation: value-value attention in all blocks, 462 + 462 state prompts.

The tower of the paper is ``ViT-B-16-plus-240`` trained on LAION-400M for 32 epochs. ``head.views`` averages the image
score over 22 views, as the authors do; it is off by default because it costs 22 passes.
"""

method = dict(
    task="anomaly",
    head=dict(type="TextMapHead", side_blocks=99, taps=(-1,), tau=1.0, pooled="stock", views=False),
    texts=dict(type="ComposedTexts", prompts="anovl"),
    tiler=dict(type="SquareTiler", size_px=240),
    upsampler=dict(sigma_px=0.0, align_corners=True, box=3),
    pos_embed="size_aa",
    resize="bilinear",
)
