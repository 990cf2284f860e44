"""photo-mini: photographs at short side 448, and patch memory on its trunk's strides 8 and 16."""

tower = dict(
    tasks=dict(
        segmentation=dict(
            templates="photo_mini",
            classifier=dict(logit_scale=17.0),
            tiler=dict(_delete_=True, type="Tiler", short_side_px=448, whole_patches=True),
        ),
        detection=dict(
            templates="photo_mini",
            tiler=dict(_delete_=True, type="Tiler", short_side_px=448, whole_patches=True),
        ),
    ),
    methods=dict(
        patch_memory=dict(
            head=dict(taps=(0, 1), keep=1000),
            tiler=dict(short_side_px=320),
        ),
    ),
)
