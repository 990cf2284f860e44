"""CLIP Surgery (Li et al., 2023): v-v attention of the last six blocks in a dual path, and feature surgery.

Departures: images keep their aspect ratio (the reference resizes them to 512 x 512); positional embeddings are
resized from the original parameter at every call (the reference overwrites it); maps reach the original size through
that of the resized image, the reference's in one step (under 0.2 % of the labels of random maps, test_stitcher.py).
"""

method = dict(
    pos_embed="bilinear_square",
    readout=dict(type="DualPathReadout", affinity=dict(type="SelfAttention", pairs=("vv",)), layers=6),
    tiler=dict(type="Tiler", short_side_px=512),
    templates="openai85",
    classifier=dict(logit_scale=100.0),
    logit_rule=dict(type="FeatureSurgery"),
)
