"""CLIP baseline: patch similarity to "a photo of a damaged ..." versus "a photo of a ..."."""

method = dict(
    task="anomaly",
    head=dict(type="TextMapHead", side_blocks=0, taps=(-1,), tau=0.01, pooled="stock"),
    texts=dict(type="ComposedTexts", prompts="photo"),
    tiler=dict(type="SquareTiler", size_px=336),
    upsampler=dict(sigma_px=4.0),
)
