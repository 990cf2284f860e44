"""Mosaics: captioned images tiled into one, so that each tile is a region with a known text.

CLIM (Wu et al., AAAI 2024). `plan_mosaics` and `tile_images` are for training towers; `compose_mosaic` and
`join_tiles` are for caption-supervised detectors, whose images keep their aspect ratio.
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
    """Partition of a batch: the first images fill mosaics, in order; the rest stay single.

    Attributes:
        mosaics: ``(side, count)``: number of mosaics of ``side x side`` images.
        singles: number of images left single.
    """

    mosaics: tuple[tuple[int, int], ...]
    singles: int

    @property
    def tiled(self) -> int:
        """Number of images in mosaics."""
        return sum(side * side * count for side, count in self.mosaics)


def plan_mosaics(batch_size: int, sides: Sequence[int] = SIDES) -> MosaicPlan:
    """Plans as many mosaics as the batch fills, equally many of each side.

    Args:
        batch_size: number of images; at least one mosaic of each side must fit.
        sides: images along a mosaic's side.

    Raises:
        ValueError: there are too few images, or no sides.
    """
    if not sides or min(sides) < 1:
        raise ValueError(f"sides must name mosaics of at least 1 x 1; got {tuple(sides)}")
    pictures = sum(side * side for side in sides)
    count, singles = divmod(batch_size, pictures)
    if count == 0:
        raise ValueError(
            f"a batch of {batch_size} does not fill one mosaic of each side {tuple(sides)}: "
            f"{pictures} images are needed; enlarge the batch or use fewer sides"
        )
    return MosaicPlan(tuple((side, count) for side in sides), singles)


def tile_images(images: Tensor, side: int, size_px: int) -> Tensor:
    """Tiles images into mosaics of ``side x side``, row by row, and resizes them.

    Args:
        images: ``(k * side * side, 3, S, S)`` normalised floats; image ``t`` of a mosaic is in row ``t // side``.
        side: images along a side.
        size_px: side of the result; bicubic without antialiasing, as in the authors' code.

    Returns:
        ``(k, 3, size_px, size_px)``.
    """
    count, channels, height, width = images.shape
    if count % (side * side):
        raise ValueError(f"{count} images do not fill mosaics of {side} x {side}")
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
    """A mosaic of images that keep their aspect ratio.

    Attributes:
        image: ``(H, W, 3)`` uint8.
        boxes: ``(T, 4)`` float32 ``xyxy`` px, box of each image; row by row.
        grid: rows and columns, kept because boxes may be dropped later.
    """

    image: np.ndarray
    boxes: np.ndarray
    grid: tuple[int, int]


def compose_mosaic(
    pictures: Sequence[np.ndarray], grid: tuple[int, int], cell_px: int, long_side_px: int, rng: np.random.Generator
) -> CaptionMosaic:
    """Fits images into the cells of a grid, aligned towards the mosaic's centre.

    Images keep their aspect ratio; outer rows and columns are aligned inwards, inner ones are placed at random in their
    cell; the rest is grey.

    Args:
        pictures: rows x columns of ``(H, W, 3)`` uint8, row by row.
        grid: rows and columns.
        cell_px: side of a cell.
        long_side_px: longer side of the result.
        rng: generator for the placement of inner images.
    """
    rows, columns = grid
    if len(pictures) != rows * columns:
        raise ValueError(f"a mosaic of {rows} x {columns} needs {rows * columns} images; got {len(pictures)}")
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
    """Several tiles merged into a region.

    Attributes:
        tiles: tile indices, row by row.
        box: ``(4,)`` float32, the bounding box of the tiles.
    """

    tiles: tuple[int, ...]
    box: np.ndarray


def join_tiles(mosaic: CaptionMosaic, count: int, rng: np.random.Generator) -> tuple[TileGroup, ...]:
    """Samples up to ``count`` distinct rectangles of more than one cell; each has the texts of all its tiles."""
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
