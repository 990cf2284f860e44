"""clip-mini-clim: CLIM on clip-mini with mosaics of crops from the procedural world, on one CPU core.

The recipe of ``clim.py``, adapted so that the mini tower generalises to unseen pairs. In training, blue objects are
only dotted or plain, and clip-mini classifies nearly every patterned blue object as dotted. Therefore its last three
blocks are reinitialised, colours without all patterns are shown plain, and half of the crops are recoloured, with
captions that do not name a colour; no recoloured object comes near a held-out pair.
"""

_base_ = "../world.py"
iterations = 1600
model = dict(
    type="RegionAlignment",
    clip=dict(arch="clip-mini", weights="clip-mini"),
    objective=dict(type="MosaicContrast", mosaic_px=112, sides=(2, 3), singles=False),
    trained_blocks=-1,
    reinitialised_blocks=3,
    ensemble_ratio=1.0,
)
train_dataloader = dict(
    dataset=dict(
        type="WorldTiles",
        length=iterations,
        seed=100,
        stages=[dict(crops=65, scenes=0)],
        even=True,
        recoloured=0.5,
    ),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(
    constructor="MuonConstructor",
    optimizer=dict(type="MuonAdamW", matrix_lr=2e-3, matrix_decay=0.02, lr=1e-3),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.03, by_epoch=False, begin=0, end=30),
    dict(type="LinearLR", start_factor=1.0, end_factor=0.01, by_epoch=False, begin=iterations // 2, end=iterations),
]
default_hooks = dict(checkpoint=dict(interval=100))
custom_hooks = [dict(type="AveragedWeightsHook", name="clip-mini-clim")]
