"""Trident (Shi et al., 2024): ProxyCLIP on tiles, spliced as features and aggregated with SAM's correlation.

DINO ViT-B/16 and SAM ViT-B; tiles of 336 px with stride 224 at short side 448 (VOC20 336 with stride 112, Context
576, Cityscapes 688). Cityscapes ``splice.aggregator.cos_factor=3.0`` and ``keep_negative=False`` (also ADE20K); VOC20
``cos_factor=0.0``. Background threshold 0.2 on VOC21, 0.15 on Context60, 0.25 on COCO-Object. ``trident_sam`` adds
SAM's prompted refinement. Departures: a patch always attends to itself; the image is resized once, to the size that the
reference reaches in two steps; Cityscapes images are passed to SAM in full, not as two halves; SAM resizes the original
image; synonyms are used for all classes, not only for background.

On clip-mini the readout is that of ``proxyclip`` there, and features move halfway towards SAM's average.
"""

method = dict(
    pos_embed="scale",
    readout=dict(type="BlockReadout", affinity=dict(type="GuideAffinity"), residual=False, ffn=False),
    guide=dict(type="DinoGuide", weights="dino-vitb16", mean_over="image"),
    splice=dict(aggregator=dict(type="SamCorrelation", weights="sam-vit-b")),
    tiler=dict(type="Tiler", short_side_px=448, crop_px=336, stride_px=224, whole_patches=True, follow_long_side=True),
    templates="openai80",
    classifier=dict(logit_scale=40.0),
)
