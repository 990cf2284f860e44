"""Mosaics: captioned pictures tiled into one image, so that each tile is a region whose text is known.

CLIM (Wu et al., AAAI 2024). `plan_mosaics` and `tile_images` are what a tower is trained on; `compose_mosaic` and
`join_tiles` are the mosaics of caption-supervised detectors, whose pictures keep their aspect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SIDES: tuple[int, ...] = (2, 3, 4)
PADDING_GREY = 114


@dataclass(frozen=True)
class MosaicPlan:
    """How a batch is cut: its first images fill mosaics, in order; the rest stay single.

    Attributes:
        mosaics: ``(side, count)``: so many mosaics of ``side x side`` pictures.
        singles: pictures that stay as they are.
    """

    mosaics: tuple[tuple[int, int], ...]
    singles: int

    @property
    def tiled(self) -> int:
        """Pictures that are part of a mosaic."""
        return sum(side * side * count for side, count in self.mosaics)


def plan_mosaics(batch_size: int, sides: Sequence[int] = SIDES) -> MosaicPlan:
    """As many mosaics of every side as the batch fills, the same number of each.

    Args:
        batch_size: pictures; at least one mosaic of each side must fit.
        sides: pictures along a mosaic's side.

    Raises:
        ValueError: too few pictures, or no side.
    """
    if not sides or min(sides) < 1:
        raise ValueError(f"sides must name mosaics of at least 1 x 1; got {tuple(sides)}")
    pictures = sum(side * side for side in sides)
    count, singles = divmod(batch_size, pictures)
    if count == 0:
        raise ValueError(
            f"a batch of {batch_size} does not fill one mosaic of each side {tuple(sides)}: "
            f"that takes {pictures} pictures; enlarge the batch or name fewer sides"
        )
    return MosaicPlan(tuple((side, count) for side in sides), singles)


def tile_images(images: Tensor, side: int, size_px: int) -> Tensor:
    """Mosaics of ``side x side`` pictures, row by row, brought to one size.

    Args:
        images: ``(k * side * side, 3, S, S)`` normalised floats; picture ``t`` of a mosaic lies in row ``t // side``.
        side: pictures along a side.
        size_px: side of the result; bicubic without antialiasing, as the authors resize.

    Returns:
        ``(k, 3, size_px, size_px)``.
    """
    count, channels, height, width = images.shape
    if count % (side * side):
        raise ValueError(f"{count} pictures do not fill mosaics of {side} x {side}")
    grid = images.view(-1, side, side, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    tiled = grid.reshape(-1, channels, side * height, side * width)
    if tiled.shape[-2:] == (size_px, size_px):
        return tiled
    return F.interpolate(tiled, (size_px, size_px), mode="bicubic", align_corners=False)


def cell_boxes(side: int, size_px: float = 1.0) -> Tensor:
    """Boxes of a mosaic's cells, row by row, ``(side * side, 4)`` float32 ``xyxy``, for an image of ``size_px``."""
    edges = torch.linspace(0, 1, side + 1) * size_px
    y0, x0 = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    y1, x1 = torch.meshgrid(edges[1:], edges[1:], indexing="ij")
    return torch.stack([x0, y0, x1, y1], dim=-1).reshape(-1, 4)


@dataclass(frozen=True)
class CaptionMosaic:
    """A mosaic of pictures that keep their aspect.

    Attributes:
        image: ``(H, W, 3)`` uint8.
        boxes: ``(T, 4)`` float32 ``xyxy`` px, where each picture lies; row by row.
        grid: rows and columns; kept, as boxes may be dropped later.
    """

    image: np.ndarray
    boxes: np.ndarray
    grid: tuple[int, int]


def compose_mosaic(
    pictures: Sequence[np.ndarray], grid: tuple[int, int], cell_px: int, long_side_px: int, rng: np.random.Generator
) -> CaptionMosaic:
    """Fits pictures into the cells of a grid, pushed towards the mosaic's centre.

    A picture keeps its aspect; outer rows and columns align inwards, inner ones lie anywhere in their cell; what
    stays free is grey.

    Args:
        pictures: rows x columns of ``(H, W, 3)`` uint8, row by row.
        grid: rows and columns.
        cell_px: side of a cell.
        long_side_px: longer side of the result.
        rng: places inner pictures.
    """
    rows, columns = grid
    if len(pictures) != rows * columns:
        raise ValueError(f"a mosaic of {rows} x {columns} takes {rows * columns} pictures; got {len(pictures)}")
    canvas = np.full((rows * cell_px, columns * cell_px, 3), PADDING_GREY, np.uint8)
    boxes = np.zeros((len(pictures), 4), np.float32)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        fitted = _fit(picture, cell_px)
        height, width = fitted.shape[:2]
        y = row * cell_px + _place(row, rows, cell_px - height, rng)
        x = column * cell_px + _place(column, columns, cell_px - width, rng)
        canvas[y : y + height, x : x + width] = fitted
        boxes[index] = x, y, x + width, y + height
    scale = long_side_px / max(canvas.shape[:2])
    size = (round(canvas.shape[1] * scale), round(canvas.shape[0] * scale))
    image = cv2.resize(canvas, size, interpolation=cv2.INTER_LINEAR)
    return CaptionMosaic(image, boxes * np.float32(scale), grid)


def _fit(picture: np.ndarray, cell_px: int) -> np.ndarray:
    scale = cell_px / max(picture.shape[:2])
    height, width = (max(1, min(cell_px, round(side * scale))) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def _place(index: int, count: int, free_px: int, rng: np.random.Generator) -> int:
    """Offset in a cell: the first aligns to its end, the last to its start, others at random."""
    if index == 0 and count > 1:
        return free_px
    return 0 if index == count - 1 and count > 1 else int(rng.integers(0, free_px + 1))


@dataclass(frozen=True)
class TileGroup:
    """Several tiles taken as one region.

    Attributes:
        tiles: their indices, row by row.
        box: ``(4,)`` float32, the hull of their boxes.
    """

    tiles: tuple[int, ...]
    box: np.ndarray


def join_tiles(mosaic: CaptionMosaic, count: int, rng: np.random.Generator) -> tuple[TileGroup, ...]:
    """Different rectangles of more than one cell, at most ``count``; each stands for all that its tiles say."""
    rows, columns = mosaic.grid
    every = [
        (top, left, bottom, right)
        for top in range(rows)
        for bottom in range(top + 1, rows + 1)
        for left in range(columns)
        for right in range(left + 1, columns + 1)
        if (bottom - top) * (right - left) > 1
    ]
    chosen = rng.permutation(len(every))[:count]
    groups = []
    for top, left, bottom, right in (every[index] for index in chosen):
        tiles = tuple(row * columns + column for row in range(top, bottom) for column in range(left, right))
        boxes = mosaic.boxes[list(tiles)]
        groups.append(TileGroup(tiles, np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])))
    return tuple(groups)
