"""ProxyCLIP (Lan et al., ECCV 2024) on DINOv2 ViT-B/14 with registers."""

_base_ = ["./proxyclip.py"]

method = dict(
    guide=dict(weights="dinov2-vitb14-reg"),
)
