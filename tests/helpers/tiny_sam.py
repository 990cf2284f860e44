"""A small segment-anything model with random weights in which every branch counts."""

from __future__ import annotations

import torch
from segment_anything.modeling import Sam

from helpers.tiny_models import scramble
from ovperc.backbones.sam import build_sam

SETTINGS = {
    "width": 32,
    "depth": 4,
    "num_heads": 2,
    "patch_px": 8,
    "image_px": 96,
    "window": 5,
    "global_layers": (1, 3),
    "mlp_ratio": 2.0,
    "channels": 64,
    "mask_channels": 8,
    "decoder_layers": 2,
    "decoder_mlp": 64,
    "masks": 3,
    "iou_layers": 2,
    "iou_width": 16,
}


def tiny_sam(seed: int = 0) -> Sam:
    """Four blocks, two of them global, on 12 x 12 patches of 8 px."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sam = build_sam(SETTINGS)
        scramble(sam)
    return sam
