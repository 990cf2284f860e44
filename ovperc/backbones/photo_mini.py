"""photo-mini: an open_clip ``CustomTextCLIP`` of a fused EfficientNet-Lite0 and a small text tower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from ovperc.backbones.pyramid_trunk import register_trunk
from ovperc.weights.architectures import build_model

ARCH = "photo-mini"


def architecture() -> dict[str, Any]:
    """open_clip's configuration of photo-mini, as shipped in ``ovperc/assets/archs``."""
    path = Path(__file__).parents[1] / "assets" / "archs" / f"{ARCH}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def build_photo_mini(embed_dim: int | None = None) -> nn.Module:
    """photo-mini with random weights, in evaluation mode on the CPU.

    Args:
        embed_dim: channels of the text tower's answer; other than the default only for training.
    """
    register_trunk()
    config = architecture()
    return build_model({**config, "embed_dim": embed_dim or config["embed_dim"]})
