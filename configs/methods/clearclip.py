"""ClearCLIP (Lan et al., ECCV 2024): q-q attention in the last block, without residual and feed-forward.

Tiles of 448 px with stride 224 at short side 448 (Cityscapes: tiles of 224). Background threshold 0.5 on VOC21,
0.15 on Context60, 0.4 on COCO-Object. Departure: scores are float32 throughout (the released code keeps them in fp16).
"""

method = dict(
    pos_embed="scale",
    readout=dict(type="BlockReadout", affinity=dict(type="SelfAttention", pairs=("qq",)), residual=False, ffn=False),
    tiler=dict(type="Tiler", short_side_px=448, crop_px=448, stride_px=224, pad="symmetric"),
    templates="openai80",
    classifier=dict(logit_scale=50.0),
)
