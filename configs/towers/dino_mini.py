"""dino-mini: reads three blocks and adds rotated copies to the memory, as chosen on world-anomaly's training split."""

tower = dict(
    methods=dict(
        patch_memory=dict(
            head=dict(taps=(1, 2, 3)), tiler=dict(short_side_px=112), augment=("hflip", "vflip", "rot180")
        )
    )
)
