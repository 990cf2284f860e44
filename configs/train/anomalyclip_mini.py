"""anomalyclip-mini: AnomalyCLIP's prompts for clip-mini, from the training categories and defects of world-anomaly."""

_base_ = "../world.py"
iterations = 400
tower = dict(weights="clip-mini", pos_embed="bilinear_square")
model = dict(type="AnomalyPromptTraining", clip=tower, contexts=12, depth=2, deep_length=4, tau=0.07, map_weight=4.0)
train_dataloader = dict(
    dataset=dict(
        type="AnomalyFeatures",
        images=dict(type="WorldAnomaly", split="train", good=16, per_kind=8, styles=8, seed=1),
        clip=tower,
        taps=("-1.dual:6",),
        pooled="-1.pooled_bare",
        size_px=112,
        batch_size=16,
        length=iterations,
        seed=111,
    ),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(optimizer=dict(type="Adam", lr=2e-3, betas=(0.5, 0.999)))
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, T_max=iterations, eta_min=1e-5)]
default_hooks = dict(checkpoint=dict(interval=100))
custom_hooks = [dict(type="ExportWeightsHook", name="anomalyclip-mini", arch="clip-mini")]
randomness = dict(seed=111)
