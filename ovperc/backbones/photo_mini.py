"""photo-mini: an open_clip ``CustomTextCLIP`` of a fused EfficientNet-Lite0 and a small text tower."""

from __future__ import annotations

from torch import nn

from ovperc.backbones.mini_archs import architecture
from ovperc.backbones.pyramid_trunk import register_trunk
from ovperc.weights.architectures import build_model

ARCH = "photo-mini"


def build_photo_mini(embed_dim: int | None = None) -> nn.Module:
    """photo-mini with random weights, in evaluation mode on the CPU.

    Args:
        embed_dim: channels of the text tower's answer; other than the default only for training.
    """
    register_trunk()
    config = architecture(ARCH)
    return build_model({**config, "embed_dim": embed_dim or config["embed_dim"]})
