"""april-gan-mini: APRIL-GAN's linear adapters for clip-mini, from the training side of world-anomaly."""

_base_ = "./anomalyclip_mini.py"
model = dict(_delete_=True, type="AnomalyAdapterTraining", clip=dict(weights="clip-mini", pos_embed="size_aa"), taps=4)
train_dataloader = dict(
    dataset=dict(
        clip=dict(weights="clip-mini", pos_embed="size_aa"),
        request=dict(_delete_=True, main_taps=(1, 3, 4, 5), pooled="stock"),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
custom_hooks = [dict(type="ExportWeightsHook", name="april-gan-mini", arch="clip-mini")]
