"""The two traced parts of a method that merges tiles as features: tokens of tiles, and the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.core.structures import Tap
from ovperc.export.parts import ExportError
from ovperc.export.segmentation_towers import TileTower, guide_side
from ovperc.readout.base import unit_pooled

if TYPE_CHECKING:
    from ovperc.affinity.sam_correlation import SamCorrelation
    from ovperc.backbones.base import DenseBackbone
    from ovperc.tasks.segmentation.spliced import SplicedSegmenter

SAM_TAPS = tuple(Tap(-1, point) for point in ("q", "k", "v"))


class TokenEncoder(TileTower):
    """Tiles to the last block's output, on the grid on which they are spliced.

    Args:
        segmenter: the method.
        tile_hw: size of the tiles; ``None`` for tiles of any size.

    Attributes:
        outputs: ``tokens``, ``(T, D, h, w)``, and ``pooled``, ``(T, E)``, where the logit rule reads it.
        ratio: cells of that grid per patch of the tower, on each axis.
    """

    def __init__(self, segmenter: SplicedSegmenter, tile_hw: tuple[int, int] | None) -> None:
        super().__init__(segmenter)
        self.outputs: tuple[str, ...] = ("tokens", "pooled") if self.with_pooled else ("tokens",)
        ratio = _grid_ratio(segmenter, tile_hw)
        self.ratio = ratio or 1
        self._resized = ratio is None

    def forward(self, tiles: Tensor) -> tuple[Tensor, ...]:
        """``(T, 3, h, w)`` float32, normalised, to :attr:`outputs`, float32."""
        features, guide = self.describe(tiles)
        tokens = self.readout.tokens(self.backbone, features, guide)
        maps = tokens.transpose(1, 2).unflatten(2, self.readout.output_grid(features, guide)).float()
        if self._resized:
            maps = F.interpolate(maps, features.grid_hw, mode="bilinear", align_corners=False)
        return (maps, unit_pooled(features)) if self.with_pooled else (maps,)


def _grid_ratio(segmenter: SplicedSegmenter, tile_hw: tuple[int, int] | None) -> int | None:
    """By how much :func:`ovperc.tiling.splice.splice` finds the grid finer; ``None`` where it resizes."""
    guide, stride = segmenter.guide, segmenter.clip.backbone.stride_px
    if guide is None:
        return 1
    finer = guide.backbone.stride_px
    if tile_hw is None:
        grid = guide_side(guide, stride) // finer
        if (
            guide.side_px is not None
            or guide_side(guide, 2 * stride) != 2 * grid * finer
            or stride * guide.zoom % finer
        ):
            raise ExportError("this guide has another grid at every image size; pass --size HxW")
        return grid
    native = [side // stride for side in tile_hw]
    grid_hw = [guide_side(guide, side) // finer for side in tile_hw]
    ratio = grid_hw[0] // native[0]
    return ratio if ratio >= 1 and grid_hw == [side * ratio for side in native] else None


class GlobalStep(nn.Module):
    """SAM's average of spliced features.

    Args:
        aggregator: the average.
    """

    def __init__(self, aggregator: SamCorrelation) -> None:
        super().__init__()
        self._aggregator = aggregator
        # Named here so that its weights are found; the aggregator itself is no module.
        self.sam = aggregator.backbone.tower

    def forward(self, canvas: Tensor, pixels: Tensor, valid: Tensor) -> Tensor:
        """Averages over the image.

        Args:
            canvas: ``(n, D)`` float32 features on SAM's grid.
            pixels: ``(1, 3, S, S)`` float32, SAM's square.
            valid: ``(n,)`` int64, the patches of the square that lie inside the image.

        Returns:
            ``(n, D)`` float32.
        """
        features = self._aggregator.backbone.forward_dense(pixels, SAM_TAPS)
        return self._aggregator.correlation(features, valid) @ canvas


class Projection(nn.Module):
    """Features of the first tower to unit rows of the joint space.

    Args:
        backbone: the first tower.
    """

    def __init__(self, backbone: DenseBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, features: Tensor) -> Tensor:
        """``(n, D)`` float32 to ``(n, E)`` float32."""
        return project_unit(self.backbone, features)


def project_unit(backbone: DenseBackbone, features: Tensor) -> Tensor:
    """``(n, D)`` to unit rows ``(n, E)`` float32."""
    return F.normalize(backbone.project(features[None].to(backbone.dtype))[0].float(), dim=-1)
