"""Boxes ``(x0, y0, x1, y1)`` in pixels, right and bottom edges excluded: checked, clipped, and turned into anchors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList


def as_boxes(boxes: Tensor | np.ndarray | Sequence[Sequence[float]], name: str = "boxes") -> Tensor:
    """Boxes as ``(N, 4)`` float32; an empty list is ``(0, 4)``.

    Raises:
        ValueError: another shape, a value that is not finite, or a corner before the first one.
    """
    table = torch.as_tensor(np.asarray(boxes) if not isinstance(boxes, Tensor) else boxes).float()
    if table.numel() == 0:
        return table.new_zeros((0, 4))
    if table.ndim != 2 or table.shape[1] != 4:
        raise ValueError(f"{name} must be (N, 4) of x0, y0, x1, y1 in pixels; got shape {tuple(table.shape)}")
    wrong = ~torch.isfinite(table).all(dim=1)
    if wrong.any():
        rows = wrong.nonzero().flatten().tolist()
        raise ValueError(f"{name} must be finite; rows {rows[:8]} are not: remove or correct them")
    wrong = (table[:, 2:] < table[:, :2]).any(dim=1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} are x0, y0, x1, y1 with x0 <= x1 and y0 <= y1; row {row} is {table[row].tolist()} (is it x, y, "
            "width, height?)"
        )
    return table


def clip_boxes(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Boxes ``(..., 4)`` cut off at the borders of an image; one that lies outside becomes a line or a point."""
    height, width = size_hw
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)


def box_sides(boxes: Tensor) -> Tensor:
    """Width and height, ``(..., 4) -> (..., 2)``."""
    return boxes[..., 2:] - boxes[..., :2]


def enlarge_boxes(boxes: Tensor, factor: float, size_hw: tuple[int, int]) -> Tensor:
    """Boxes ``(N, 4)`` grown about their centres by ``factor`` and clipped to the image."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, box_sides(boxes) * factor / 2
    return clip_boxes(torch.cat([centre - half, centre + half], dim=1), size_hw)


class PyramidAnchors(nn.Module):
    """Anchors of a pyramid whose strides need not be whole numbers (3.5, 7, 14, 28 px for 14 px patches).

    torchvision's generator divides sizes as integers and rounds its anchors; these are exact. Each position has one
    anchor per ratio, centred on the middle of its cell.

    Args:
        strides: pixels per cell of each level, finest first.
        scale: side of a square anchor in cells.
        ratios: height over width.
    """

    def __init__(self, strides: Sequence[float], scale: float = 8.0, ratios: Sequence[float] = (0.5, 1.0, 2.0)) -> None:
        super().__init__()
        if min(strides) <= 0 or scale <= 0 or min(ratios) <= 0:
            raise ValueError(f"strides, scale and ratios must be positive; got {strides}, {scale}, {ratios}")
        self.strides = tuple(float(stride) for stride in strides)
        self.scale = float(scale)
        self.ratios = tuple(float(ratio) for ratio in ratios)

    def num_anchors_per_location(self) -> list[int]:
        """Anchors of each position, one entry a level."""
        return [len(self.ratios)] * len(self.strides)

    def level(self, stride: float, grid_hw: tuple[int, int], like: Tensor) -> Tensor:
        """Anchors of one level ``(h * w * A, 4)``, positions row-major, ratios innermost."""
        ratios = torch.tensor(self.ratios, dtype=torch.float32, device=like.device).sqrt()
        half = 0.5 * self.scale * stride * torch.stack([1 / ratios, ratios], dim=1)
        y, x = (torch.arange(side, dtype=torch.float32, device=like.device) + 0.5 for side in grid_hw)
        centres = torch.stack(torch.meshgrid(y * stride, x * stride, indexing="ij")[::-1], dim=-1).view(-1, 1, 2)
        return torch.cat([centres - half, centres + half], dim=-1).flatten(0, 1)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Anchors of all levels, the same for every image of the batch."""
        if len(feature_maps) != len(self.strides):
            raise ValueError(f"anchors are laid out for {len(self.strides)} levels; got {len(feature_maps)} maps")
        parts = [
            self.level(stride, (maps.shape[-2], maps.shape[-1]), maps)
            for stride, maps in zip(self.strides, feature_maps, strict=True)
        ]
        return [torch.cat(parts)] * len(image_list.image_sizes)
