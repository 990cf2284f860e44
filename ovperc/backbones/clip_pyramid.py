"""A convolutional tower that fuses several strides: its levels are layers, the fused map is the last."""

from __future__ import annotations

from collections.abc import Sequence

from open_clip.timm_model import TimmModel
from torch import Tensor
from torch.nn import functional as F

from ovperc.backbones.base import POOLED, resolve_taps
from ovperc.backbones.clip_convnext import ClipConvNet
from ovperc.core.structures import DenseFeatures, Tap


class ClipPyramid(ClipConvNet):
    """photo-mini's image tower.

    Layers 0, 1 and 2 are the maps of strides 8, 16 and 32, brought to the grid of stride 8 by bilinear resizing; they
    have channels of their own. Layer 3 is the fused map, the only one that ``project`` takes.
    """

    def __init__(self, tower: TimmModel) -> None:
        super().__init__(tower)
        self.depth = len(tower.trunk.feature_info)

    def forward_dense(self, images: Tensor, taps: Sequence[Tap | str]) -> DenseFeatures:
        """See :meth:`DenseBackbone.forward_dense`; the head runs only where its layer is wanted."""
        wanted = resolve_taps(taps, self.depth)
        self._check_points(wanted)
        images, grid_hw = self._whole_patches(images)
        trunk, fused = self.tower.trunk, self.depth - 1
        levels = trunk.levels(images)
        maps = dict(enumerate(levels))
        if fused in {tap.layer for tap in wanted}:
            maps[fused] = trunk.fuse(levels)
        full_hw = tuple(levels[0].shape[-2:])
        cut = {layer: _on_grid(maps[layer], full_hw, grid_hw) for layer in {tap.layer for tap in wanted}}
        found = {tap: cut[tap.layer].flatten(2).transpose(1, 2) for tap in wanted}
        pooled = POOLED.resolve(self.depth)
        if pooled in wanted:
            found[pooled] = self._pool(cut[fused])
        return DenseFeatures(found, grid_hw, 0, self.depth)


def _on_grid(features: Tensor, full_hw: tuple[int, int], grid_hw: tuple[int, int]) -> Tensor:
    """``(B, D, *, *)`` brought to the grid of the padded image and cut to the image's: ``(B, D, h, w)``."""
    if tuple(features.shape[-2:]) != full_hw:
        features = F.interpolate(features, full_hw, mode="bilinear", align_corners=False)
    return features[..., : grid_hw[0], : grid_hw[1]]
