"""CLIP Surgery (Li et al., 2023): v-v attention of the last six blocks summed beside the tower, and feature surgery.

Departures: images keep their aspect (the reference squeezes them to 512 x 512), and the position table is resized from
the pristine parameter at every call (the reference writes the resized table back).
"""

method = dict(
    pos_embed="bilinear_square",
    readout=dict(type="DualPathReadout", affinity=dict(type="SelfAttention", pairs=("vv",)), layers=6),
    tiler=dict(type="Tiler", short_side_px=512),
    templates="openai85",
    classifier=dict(logit_scale=100.0),
    logit_rule=dict(type="FeatureSurgery"),
)
