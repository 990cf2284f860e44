"""april-gan-mini: APRIL-GAN's linear adapters for clip-mini, from the training split of world-anomaly."""

_base_ = "./anomalyclip_mini.py"
model = dict(_delete_=True, type="AnomalyAdapterTraining", clip=dict(weights="clip-mini", pos_embed="size_aa"), taps=4)
train_dataloader = dict(
    dataset=dict(
        clip=dict(weights="clip-mini", pos_embed="size_aa"),
        taps=("1.out", "3.out", "4.out", "5.out"),
        pooled="-1.pooled",
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
custom_hooks = [dict(type="ExportWeightsHook", name="april-gan-mini", arch="clip-mini")]
