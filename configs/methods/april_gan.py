"""APRIL-GAN (Chen et al., VAND challenge 2023): linear adapters on patch tokens of four blocks.

The tower of the paper is ``ViT-L-14-336/openai``; pass the authors' adapters with ``head.adapters``.
``fit(normal_images)`` adds their memory bank of normal patches.
"""

method = dict(
    task="anomaly",
    head=dict(type="AprilGanHead", adapters=None, taps=(5, 11, 17, 23), scale=100.0),
    texts=dict(type="ComposedTexts", prompts="april_gan"),
    tiler=dict(type="SquareTiler", size_px=518),
    upsampler=dict(sigma_px=0.0, align_corners=True),
    pos_embed="size_aa",
    resize="bicubic",
)
