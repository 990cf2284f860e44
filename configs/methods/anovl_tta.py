"""AnoVL (Deng et al., 2023): test-time adaptation of a text adapter, five steps per image.

Departure: the optimiser is reset for each image (the authors keep its state, so that results depend on order), and
every image gets the same seed.
"""

method = dict(
    task="anomaly",
    head=dict(
        type="AdaptiveTextHead", side_blocks=99, taps=(-1,), tau=1.0, steps=5, lr=1e-3, noise=0.055, mix=0.5, seed=111
    ),
    texts=dict(type="ComposedTexts", prompts="anovl"),
    tiler=dict(type="SquareTiler", size_px=240),
    upsampler=dict(sigma_px=0.0, align_corners=True, box=3),
    pos_embed="size_aa",
    resize="bilinear",
)
