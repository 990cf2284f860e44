"""From the patch grids of all tiles to a map at the original size, as one separable linear map.

Upsampling each tile, cropping its padding, adding it up, dividing by the cover count and resizing to
the original size all act on rows and columns apart, and the cover count is (row cover) x (column cover).
The whole chain is therefore ``map = rows @ S @ cols.T`` with ``S`` the block matrix of the tile grids.

Operators are kept in a bounded cache and must serve every later caller, so they are made outside inference
mode, whose tensors autograd refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.tiling.tiler import Geometry


@dataclass(frozen=True)
class _Axis:
    """One axis of a geometry: everything its operator depends on, in pixels; ``grid`` in patches."""

    original: int
    resized: int
    crop: int
    starts: tuple[int, ...]
    pad: tuple[int, int]
    grid: int


@dataclass(frozen=True)
class _Band:
    """A run of output pixels and the grid positions that reach it.

    Attributes:
        pixels: the run.
        positions: ``(k,)`` int64 columns of the operator that are not zero there.
        weights: ``(len(pixels), k)`` float32.
    """

    pixels: slice
    positions: Tensor
    weights: Tensor


def _resize_rows(matrix: Tensor, size: int) -> Tensor:
    """Bilinear resize (align_corners False) of ``(N, k)`` along its rows to ``(size, k)``."""
    return F.interpolate(matrix.T[None], size=size, mode="linear", align_corners=False)[0].T


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _axis_operator(axis: _Axis, device: torch.device) -> Tensor:
    """Float32 ``(original, tiles * grid)``; rows are convex weights: none negative, sum 1."""
    before, after = axis.pad
    tile = _resize_rows(torch.eye(axis.grid, dtype=torch.float64), axis.crop + before + after)
    tile = tile[before : before + axis.crop]
    canvas = torch.zeros(axis.resized, len(axis.starts), axis.grid, dtype=torch.float64)
    cover = torch.zeros(axis.resized, 1, dtype=torch.float64)
    for index, start in enumerate(axis.starts):
        canvas[start : start + axis.crop, index] = tile
        cover[start : start + axis.crop] += 1
    operator = canvas.flatten(1) / cover
    if axis.original != axis.resized:
        operator = _resize_rows(operator, axis.original)
    return operator.to(torch.float32).contiguous().to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _axis_bands(axis: _Axis, device: torch.device, step: int) -> tuple[_Band, ...]:
    """The operator cut into runs of at most ``step`` pixels, each without its zero columns."""
    operator = _axis_operator(axis, device)
    bands = []
    for start in range(0, axis.original, step):
        weights = operator[start : start + step]
        positions = weights.any(dim=0).nonzero().flatten()
        pixels = slice(start, start + len(weights))
        bands.append(_Band(pixels, positions, weights[:, positions].contiguous()))
    return tuple(bands)


@dataclass(frozen=True)
class OutputTile:
    """A rectangle of the output map and how to fill it.

    Attributes:
        rows: output rows.
        cols: output columns.
    """

    rows: slice
    cols: slice
    _vertical: _Band
    _horizontal: _Band

    @property
    def pixels(self) -> int:
        """Number of output pixels."""
        return len(self._vertical.weights) * len(self._horizontal.weights)

    def interpolate(self, grid: Tensor, buffer: Tensor) -> Tensor:
        """Fills the rectangle for ``K`` channels.

        Args:
            grid: ``(Ty * h, K, Tx * w)`` float32, from :meth:`Stitcher.block`.
            buffer: 1-D scratch of at least ``rows * K * cols`` elements; the result is a view of it.

        Returns:
            ``(rows, K, cols)``.
        """
        near = grid.index_select(0, self._vertical.positions).index_select(2, self._horizontal.positions)
        reached, channels, columns = near.shape
        upright = (self._vertical.weights @ near.view(reached, -1)).view(-1, columns)
        across = self._horizontal.weights
        out = buffer[: upright.shape[0] * across.shape[0]].view(upright.shape[0], across.shape[0])
        torch.mm(upright, across.T, out=out)
        return out.view(-1, channels, across.shape[0])


class Stitcher:
    """Merges the maps of all tiles of one image.

    Operators depend on the geometry and the grid only; they are shared between images of equal size
    through a bounded cache of a pure function.

    Args:
        geometry: the plan the tiles were cut by.
        grid_hw: patch grid ``(h, w)`` of every tile.
        device: where the operators live.
    """

    def __init__(self, geometry: Geometry, grid_hw: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self.geometry = geometry
        self.grid_hw = grid_hw
        self.device = torch.device(device)
        top, bottom, left, right = geometry.pad_tblr if geometry.crop_padding else (0, 0, 0, 0)
        axes = zip(geometry.original_hw, geometry.resized_hw, geometry.crop_hw, strict=True)
        (height, width), (h, w) = axes, grid_hw
        self._y = _Axis(*height, starts=geometry.starts_y, pad=(top, bottom), grid=h)
        self._x = _Axis(*width, starts=geometry.starts_x, pad=(left, right), grid=w)

    @property
    def output_hw(self) -> tuple[int, int]:
        """Size of the merged map, the original size of the image."""
        return self.geometry.original_hw

    @property
    def rows(self) -> Tensor:
        """``(H, Ty * h)`` float32; treat it as read-only."""
        return _axis_operator(self._y, self.device)

    @property
    def cols(self) -> Tensor:
        """``(W, Tx * w)`` float32; treat it as read-only."""
        return _axis_operator(self._x, self.device)

    def block(self, maps: Tensor) -> Tensor:
        """Arranges tile grids as one block matrix, ``(T, K, h, w) -> (Ty * h, K, Tx * w)``, contiguous."""
        tiles_y, tiles_x = len(self.geometry.starts_y), len(self.geometry.starts_x)
        expected = (tiles_y * tiles_x, *self.grid_hw)
        if maps.ndim != 4 or (maps.shape[0], *maps.shape[2:]) != expected:
            raise ValueError(
                f"maps must be (T, K, h, w) with T, h, w = {expected}, as the geometry says; got {tuple(maps.shape)}"
            )
        grids = maps.unflatten(0, (tiles_y, tiles_x)).permute(0, 3, 2, 1, 4)
        return grids.flatten(3, 4).flatten(0, 1).contiguous()

    def merge(self, maps: Tensor) -> Tensor:
        """Whole map at the original size, ``(T, K, h, w)`` float32 ``-> (K, H, W)``."""
        grid = self.block(maps)
        upright = (self.rows @ grid.flatten(1)).view(-1, *grid.shape[1:])
        return (upright.transpose(0, 1) @ self.cols.T).contiguous()

    def tiles(self, pixels: int) -> list[OutputTile]:
        """Cuts the output into rectangles of about ``pixels`` pixels, 64-column steps where it can."""
        height, width = self.output_hw
        columns = min(max(64, int(pixels**0.5) // 64 * 64), width)
        lines = min(max(pixels // columns, 1), height)
        if lines == 1:
            columns = min(max(pixels, 1), width)
        vertical = _axis_bands(self._y, self.device, lines)
        horizontal = _axis_bands(self._x, self.device, columns)
        return [OutputTile(y.pixels, x.pixels, y, x) for y in vertical for x in horizontal]
