"""AnomalyCLIP's prompts (Zhou et al., ICLR 2024) for OpenAI's ViT-L/14@336: trained on another set's test split.

Features of the frozen tower are computed once and kept in ``cache_file``. 15 epochs with batch size 8; the iterations
below are for VisA's 2,162 test images. Other data sets: ``docs/how_to/anomaly.md``.
"""

_base_ = "../world.py"
iterations = 15 * 271
tower = dict(weights="ViT-L-14-336/openai", pos_embed="bilinear_square")
model = dict(type="AnomalyPromptTraining", clip=tower, contexts=12, depth=9, deep_length=4, tau=0.07, map_weight=4.0)
train_dataloader = dict(
    dataset=dict(
        type="AnomalyFeatures",
        images=dict(set="visa", root="data"),
        clip=tower,
        taps=("-1.dual:19",),
        pooled="-1.pooled_bare",
        size_px=518,
        batch_size=8,
        length=iterations,
        seed=111,
        cache_file="work_dirs/anomalyclip/features.npz",
    ),
)
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(optimizer=dict(type="Adam", lr=1e-3, betas=(0.5, 0.999)))
default_hooks = dict(checkpoint=dict(interval=271))
custom_hooks = [dict(type="ExportWeightsHook", name="anomalyclip", arch="ViT-L-14-336")]
randomness = dict(seed=111)
