"""The two traced parts of a method that merges windows as features: tokens of windows, and the whole image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.export.graph import ExportError, WindowTower
from ovperc.structures import Tap

if TYPE_CHECKING:
    from ovperc.affinity.sam_correlation import SamCorrelation
    from ovperc.backbones.base import DenseBackbone
    from ovperc.tasks.spliced import SplicedSegmenter

_TAPS = tuple(Tap(-1, point) for point in ("q", "k", "v"))


class TokenEncoder(WindowTower):
    """Windows to the last block's output, on the grid on which they are spliced.

    Args:
        segmenter: the method.
        tile_hw: size of the windows; ``None`` for windows of any size.

    Attributes:
        outputs: ``tokens``, ``(T, D, h, w)``.
        ratio: cells of that grid per patch of the tower, on each axis.
    """

    outputs: tuple[str, ...] = ("tokens",)

    def __init__(self, segmenter: SplicedSegmenter, tile_hw: tuple[int, int] | None) -> None:
        super().__init__(segmenter)
        ratio = _grid_ratio(segmenter, tile_hw)
        self.ratio = ratio or 1
        self._resized = ratio is None

    def forward(self, windows: Tensor) -> tuple[Tensor, ...]:
        """``(T, 3, h, w)`` float32, normalised, to :attr:`outputs`, float32."""
        features, proxy = self.describe(windows)
        tokens = self.readout.tokens(self.backbone, features, proxy)
        maps = tokens.transpose(1, 2).unflatten(2, self.readout.output_grid(features, proxy)).float()
        if self._resized:
            maps = F.interpolate(maps, features.grid_hw, mode="bilinear", align_corners=False)
        return (maps,)


def _grid_ratio(segmenter: SplicedSegmenter, tile_hw: tuple[int, int] | None) -> int | None:
    """By how much :func:`ovperc.tiling.splice.splice` finds the grid finer; ``None`` where it resizes."""
    proxy, stride = segmenter.proxy, segmenter.clip.backbone.stride_px
    if proxy is None:
        return 1
    finer = proxy.backbone.stride_px
    if tile_hw is None:
        if proxy.side_px is not None or stride % finer:
            raise ExportError("this second tower has another grid at every image size; pass --size HxW")
        return stride // finer
    native = [side // stride for side in tile_hw]
    grid = [(proxy.side_px or -(-side // finer) * finer) // finer for side in tile_hw]
    ratio = grid[0] // native[0]
    return ratio if ratio >= 1 and grid == [side * ratio for side in native] else None


class WholeImage(nn.Module):
    """What follows the splice, as a module of its own; see :func:`embed_canvas`.

    Args:
        segmenter: the method.
    """

    def __init__(self, segmenter: SplicedSegmenter) -> None:
        super().__init__()
        self.backbone = segmenter.clip.backbone
        self._aggregator = segmenter.aggregator
        # Named here so that its weights are found; the aggregator itself is no module.
        self.sam = None if segmenter.aggregator is None else segmenter.aggregator.backbone.tower

    def forward(self, canvas: Tensor, pixels: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """``(n, D)`` features to ``(n, E)`` unit rows."""
        return embed_canvas(self.backbone, self._aggregator, canvas, pixels, valid)


def embed_canvas(
    backbone: DenseBackbone,
    aggregator: SamCorrelation | None,
    canvas: Tensor,
    pixels: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Spliced features of one image in the joint space, averaged by SAM's correlation where there is one.

    Args:
        backbone: the first tower.
        aggregator: the average; None for none.
        canvas: ``(n, D)`` float32 features of the places of one grid: SAM's, where there is a SAM.
        pixels: ``(1, 3, S, S)`` float32, SAM's square.
        valid: ``(n,)`` int64, the patches of the square that lie inside the image.

    Returns:
        ``(n, E)`` float32 unit rows.
    """
    if aggregator is not None:
        canvas = aggregator.correlation(aggregator.backbone.forward_dense(pixels, _TAPS), valid) @ canvas
    embedded = backbone.project(canvas[None].to(backbone.dtype))
    return F.normalize(embedded[0].float(), dim=-1)
