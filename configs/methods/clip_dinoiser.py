"""CLIP-DINOiser (Wysoczanska et al., ECCV 2024): MaskCLIP's features averaged by an affinity learned from DINO.

Made for ``ViT-B-16`` ``laion2b_s34b_b88k`` and the released heads (``clip-dinoiser``, the authors' ``last.pt``). The
background rule applies where the vocabulary names a background, as the paper uses it on VOC21 and COCO-Object.
Departures: tiles are padded after normalisation (the released code pads with black before it), and the padded area of
the map is cropped (the released code stretches it).

On clip-mini the affinity acts in CLIP Surgery's dual path, without the background rule.
"""

method = dict(
    pos_embed="size",
    readout=dict(type="DinoiserReadout", weights="clip-dinoiser"),
    tiler=dict(type="Tiler", short_side_px=448, crop_px=448, stride_px=224, pad="end"),
    templates="openai80",
    classifier=dict(logit_scale=100.0),
    logit_rule=dict(type="ForegroundRule"),
)
