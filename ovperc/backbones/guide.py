"""A second tower that lends its sense of what belongs together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.dino import load_dino
from ovperc.backbones.sam import load_sam
from ovperc.core.naming import suggest
from ovperc.core.structures import GuideFeatures, Tap
from ovperc.registry import GUIDES
from ovperc.tiling.preprocess import Preprocess
from ovperc.weights.entry import IMAGENET_MEAN, IMAGENET_STD

_GROUPS = ("tile", "image")


class GuideTower:
    """Describes the tiles of the first tower by features of a second one.

    Args:
        backbone: the second tower.
        preprocess: its normalisation.
        source: where its weights came from, in words.
        tap: which features: ``-1.final`` (ProxyCLIP), ``-1.k``, ``-1.v`` (heads side by side), ...
        mean_over: ``tile``: the mean similarity is of each tile by itself (ProxyCLIP); ``image``: of all tiles
            of an image together (Trident). Never of what else is in the batch.
        side_px: tiles are stretched to squares of this side (SAM: its own); None takes them as they are. A tile
            that is no whole number of patches is stretched to the next one.
        zoom: without ``side_px``, tiles are enlarged by this factor, for a finer grid.

    Raises:
        ValueError: an unknown group or tap, or a zoom that is not positive.
    """

    def __init__(
        self,
        backbone: DenseBackbone,
        preprocess: Preprocess,
        source: str = "",
        tap: str = "-1.final",
        mean_over: str = "tile",
        side_px: int | None = None,
        zoom: float = 1.0,
    ) -> None:
        if not zoom > 0:
            raise ValueError(f"zoom is a factor of lengths and must be positive; got {zoom}")
        if mean_over not in _GROUPS:
            raise ValueError(f"unknown mean_over {mean_over!r}; {suggest(mean_over, _GROUPS)}")
        self.backbone = backbone
        self.preprocess = preprocess
        self.source = source
        self.tap = Tap.parse(tap).resolve(backbone.depth)
        self.mean_over = mean_over
        self.side_px = side_px
        self.zoom = zoom

    def describe(self, tiles: Tensor, preprocess: Preprocess) -> GuideFeatures:
        """Features of tiles, with the mean similarity of each.

        Args:
            tiles: ``(T, 3, h, w)`` normalised for the first tower.
            preprocess: how they were normalised.
        """
        images = self._fit(renormalize(tiles, preprocess, self.preprocess))
        features = self.backbone.forward_dense(images, [self.tap])
        unit = F.normalize(features.patches(self.tap).float(), dim=-1)
        return GuideFeatures(unit, features.grid_hw, unit.mean(dim=1).square().sum(dim=-1))

    def share_means(self, described: Iterable[GuideFeatures], counts: Sequence[int]) -> Iterable[GuideFeatures]:
        """Gives all tiles of an image the image's mean, where ``mean_over`` says so.

        Args:
            described: forward passes of tiles, in order.
            counts: tiles of each image, in order.
        """
        if self.mean_over == "tile":
            return described
        parts = list(described)
        means = torch.cat([part.mean_similarity for part in parts])
        shared = torch.cat([group.mean().expand(len(group)) for group in means.split(list(counts))])
        split = shared.split([len(part.patches) for part in parts])
        return [replace(part, mean_similarity=mean) for part, mean in zip(parts, split, strict=True)]

    def _fit(self, images: Tensor) -> Tensor:
        stride = self.backbone.stride_px
        wanted = [self.side_px or math.ceil(side * self.zoom / stride) * stride for side in images.shape[-2:]]
        if tuple(wanted) == tuple(images.shape[-2:]):
            return images
        return F.interpolate(images.float(), wanted, mode="bilinear", align_corners=False)


def renormalize(images: Tensor, old: Preprocess, new: Preprocess) -> Tensor:
    """From one normalisation to another in one affine map, ``x s_o / s_n + (m_o - m_n) / s_n``."""
    mean_old, std_old, mean_new, std_new = (
        torch.tensor(values, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
        for values in (old.mean, old.std, new.mean, new.std)
    )
    return images * (std_old / std_new) + (mean_old - mean_new) / std_new


@GUIDES.register_module(name="DinoGuide")
def dino_guide(
    weights: str | Path = "dino-vitb8",
    arch: str | None = None,
    *,
    tap: str = "-1.final",
    mean_over: str = "tile",
    side_px: int | None = None,
    zoom: float = 1.0,
    pos_embed: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GuideTower:
    """DINO, DINOv2, DINOv3, MAE or any plain ViT as the second tower; see :class:`GuideTower` and ``load_dino``."""
    model = load_dino(weights, arch, pos_embed=pos_embed, device=device, dtype=dtype)
    return GuideTower(model.backbone, model.preprocess, model.source, tap, mean_over, side_px, zoom)


@GUIDES.register_module(name="SamGuide")
def sam_guide(
    weights: str | Path = "sam-vit-b",
    *,
    tap: str = "-1.final",
    mean_over: str = "tile",
    side_px: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GuideTower:
    """SAM's encoder as the second tower, tiles stretched to its own square; see :class:`GuideTower`."""
    backbone = load_sam(weights, device=device, dtype=dtype)
    side = side_px or backbone.image_size_px
    preprocess = Preprocess(IMAGENET_MEAN, IMAGENET_STD, backbone.image_size_px, "bilinear")
    return GuideTower(backbone, preprocess, str(weights), tap, mean_over, side)
