"""A second tower of a few weights, as methods with a guide take it."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer

from helpers.tiny_models import scramble
from ovperc.backbones.clip_timm import TimmTransformer
from ovperc.backbones.guide import GuideTower
from ovperc.tiling.preprocess import Preprocess
from ovperc.weights.entry import IMAGENET_MEAN, IMAGENET_STD


def tiny_dino(patch_px: int = 4, seed: int = 7) -> VisionTransformer:
    """A timm ViT with a class token, native at 24 px."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk = VisionTransformer(
            img_size=6 * patch_px, patch_size=patch_px, embed_dim=16, depth=2, num_heads=2, num_classes=0
        )
        scramble(trunk)
    return trunk.eval()


def tiny_guide(patch_px: int = 4, dtype: torch.dtype = torch.float32, **settings) -> GuideTower:
    """Half the stride of the tiny CLIP towers, as DINO B/8 beside CLIP B/16."""
    backbone = TimmTransformer(tiny_dino(patch_px), "scale").to(dtype)
    return GuideTower(backbone, Preprocess(IMAGENET_MEAN, IMAGENET_STD, 6 * patch_px), "random", **settings)
