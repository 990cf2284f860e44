"""ProxyCLIP (Lan et al., ECCV 2024) on the image encoder of SAM ViT-B; tiles are resized to its square input."""

_base_ = ["./proxyclip.py"]

method = dict(
    guide=dict(_delete_=True, type="SamGuide", weights="sam-vit-b"),
)
