"""dino-mini: three blocks are read and turned copies are remembered, as chosen on world-anomaly's training side."""

tower = dict(
    methods=dict(
        patch_memory=dict(
            head=dict(taps=(1, 2, 3)), tiler=dict(short_side_px=112), augment=("hflip", "vflip", "rot180")
        )
    )
)
