"""Patch memory (after PatchCore, Roth et al., CVPR 2022, and AnomalyDINO, 2024): distance to patches of normal images.

Runs on image towers (``dino-mini``, ``dinov2-vitb14-reg``, ...) and on CLIP's image tower. Requires
``fit(normal_images)``; one image is enough. With hundreds of images, bound the memory bank by ``head.keep``.
"""

method = dict(
    task="anomaly",
    head=dict(type="PatchMemoryHead", taps=(-1,), metric="cos", neighbours=1, keep=None, peak_share=0.01),
    tiler=dict(type="Tiler", short_side_px=448, whole_patches=True),
    upsampler=dict(sigma_px=4.0),
    pos_embed="scale",
    resize="bicubic",
    weights="photo-mini",
)
