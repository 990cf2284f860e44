"""WinCLIP (Jeong et al., CVPR 2023): overlapping patch windows compared with text; with normal images, WinCLIP+.

The tower of the paper is ``ViT-B-16-plus-240`` trained on LAION-400M for 31 epochs. ``fit(normal_images)`` turns it
into the few-shot variant. Patch tokens are compared before the final norm.
"""

method = dict(
    task="anomaly",
    head=dict(type="WinClipHead", sides=(2, 3), tau=0.07),
    texts=dict(type="ComposedTexts", prompts="winclip"),
    tiler=dict(type="SquareTiler", size_px=240),
    upsampler=dict(sigma_px=0.0),
    pos_embed="size_aa",
    resize="bicubic",
)
