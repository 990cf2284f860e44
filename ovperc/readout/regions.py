"""Readout of regions: one embedding for each box or mask, as a weighted mean of dense features.

A region is a row of weights over the patch grid, so that a readout is one matrix product, whichever the tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

if TYPE_CHECKING:
    from ovperc.backbones.loading import ClipModel
    from ovperc.tiling import Stitcher

_CHUNK_ELEMENTS = 1 << 24


def axis_weights(low: Tensor, high: Tensor, cells: int, bins: int = 1, sampling: int = 0) -> Tensor:
    """RoIAlign along one axis (He et al., ICCV 2017, section 3): what each bin takes from each cell.

    Bilinear samples on a grid are separable, and so are the borders: a sample more than one cell outside counts 0,
    one less far outside takes the border cell.

    Args:
        low: ``(R,)`` start of each interval in cells, where cell ``j`` is centred on ``j`` (half-pixel aligned).
        high: ``(R,)`` its end.
        cells: length of the axis.
        bins: equal parts that the interval is cut into.
        sampling: samples per bin; 0 takes one for each cell begun.

    Returns:
        ``(R, bins, cells)`` float32; a bin inside the axis sums to 1, one of no length is 0.
    """
    step = (high - low).float() / bins
    counts = torch.full_like(step, sampling) if sampling > 0 else torch.ceil(step)
    most = int(counts.max()) if len(counts) else 0
    if most == 0:
        return low.new_zeros((len(low), bins, cells), dtype=torch.float32)
    index = torch.arange(most, device=low.device)
    inside_bin = (index + 0.5)[None, :] / counts.clamp(min=1)[:, None]
    starts = low.float()[:, None] + torch.arange(bins, device=low.device) * step[:, None]
    places = starts[:, :, None] + (inside_bin * step[:, None])[:, None, :]
    counted = (index < counts[:, None])[:, None, :] & (places >= -1) & (places <= cells)
    places = places.clamp(0, cells - 1)
    centres = torch.arange(cells, device=low.device)
    hats = (1 - (places[..., None] - centres).abs()).clamp(min=0) * counted[..., None]
    return hats.sum(dim=2) / counts.clamp(min=1)[:, None, None]


def box_weights(boxes: Tensor, grid_hw: tuple[int, int], stride_px: float | tuple[float, float]) -> Tensor:
    """RoIAlign to 1 x 1 (half-pixel aligned, adaptive sampling) as weights over patches.

    Args:
        boxes: ``(R, 4)`` xyxy in pixels.
        grid_hw: patch grid ``(h, w)``.
        stride_px: pixels per patch, or rows and columns apart; need not be whole.

    Returns:
        ``(R, h * w)`` float32; rows of boxes inside the grid sum to 1, of boxes without area are 0.
    """
    stride = (stride_px, stride_px) if isinstance(stride_px, int | float) else stride_px
    rows = axis_weights(boxes[:, 1] / stride[0] - 0.5, boxes[:, 3] / stride[0] - 0.5, grid_hw[0])
    columns = axis_weights(boxes[:, 0] / stride[1] - 0.5, boxes[:, 2] / stride[1] - 0.5, grid_hw[1])
    return (rows.transpose(1, 2) * columns).flatten(1)


def mask_weights(masks: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Share of each patch that a mask covers, as weights.

    Args:
        masks: ``(R, H, W)`` bool, over the image that the grid covers.
        grid_hw: patch grid ``(h, w)``.

    Returns:
        ``(R, h * w)`` float32; rows sum to 1, of empty masks are 0.
    """
    if masks.ndim != 3:
        raise ValueError(f"masks must be (R, H, W); got {tuple(masks.shape)}")
    covered = F.interpolate(masks[:, None].float(), grid_hw, mode="area").flatten(1)
    return covered / covered.sum(dim=1, keepdim=True).clamp(min=1e-12)


def pool_regions(patches: Tensor, weights: Tensor) -> Tensor:
    """Embeddings of regions, ``(R, E)`` float32 unit rows; a row of zero weights gives zeros.

    Args:
        patches: ``(E, h, w)`` dense embeddings of one image.
        weights: ``(R, h * w)``.
    """
    return F.normalize(weights.float() @ patches.float().flatten(1).T, dim=1)


def separable_roi_align(maps: Tensor, boxes: Tensor, output_size: int, stride_px: float, sampling: int = 0) -> Tensor:
    """RoIAlign of one image as two matrix products, in any dtype and on any device, without a compiled operator.

    Args:
        maps: ``(C, h, w)``.
        boxes: ``(R, 4)`` xyxy in pixels.
        output_size: bins on each axis.
        stride_px: pixels per cell.
        sampling: samples per bin on each axis; 0 adapts to the box.

    Returns:
        ``(R, C, s, s)``, equal to ``torchvision.ops.roi_align(..., aligned=True)`` up to rounding.
    """
    x0, y0, x1, y1 = (boxes / stride_px - 0.5).unbind(1)
    rows = axis_weights(y0, y1, maps.shape[1], output_size, sampling).to(maps.dtype)
    columns = axis_weights(x0, x1, maps.shape[2], output_size, sampling).to(maps.dtype)
    if output_size == 1:
        weights = (rows.transpose(1, 2) * columns).flatten(1)
        return (weights @ maps.flatten(1).T)[:, :, None, None]
    step = max(1, _CHUNK_ELEMENTS // max(1, maps[:, :1].numel() * output_size))
    parts = [
        torch.einsum("riy,cyx,rjx->rcij", row, maps, column)
        for row, column in zip(rows.split(step), columns.split(step), strict=True)
    ]
    return torch.cat(parts) if parts else maps.new_zeros((0, maps.shape[0], output_size, output_size))


@dataclass(frozen=True)
class RegionWeights:
    """Regions of one image, by rows and columns of its tiles' patch grids; see :func:`stitched_box_weights`."""

    values: Tensor

    def pool(self, patches: Tensor) -> Tensor:
        """``(T, E, h, w)`` patches of the image's tiles to ``(R, E)`` float32 unit rows."""
        flat = patches.float().permute(1, 0, 2, 3).flatten(1)
        return F.normalize(self.values @ flat.T, dim=1)


def stitched_box_weights(boxes: Tensor, stitcher: Stitcher) -> RegionWeights:
    """What the mean over a box of the stitched map takes from each patch of each tile.

    The map at the image's own size is ``rows @ S @ cols.T`` of the tile grids; the mean of a region is the same
    map read backwards, so that any tiler serves and no map at image size is made.

    Args:
        boxes: ``(R, 4)`` xyxy in pixels of the image; parts of a pixel count by their share.
        stitcher: of the encoded image.
    """
    height, width = stitcher.output_hw
    rows = _cover(boxes[:, 1], boxes[:, 3], height) @ stitcher.rows
    columns = _cover(boxes[:, 0], boxes[:, 2], width) @ stitcher.cols
    return _by_tile(rows[:, :, None] * columns[:, None, :], stitcher)


def stitched_mask_weights(masks: Tensor, stitcher: Stitcher) -> RegionWeights:
    """The same for masks ``(R, H, W)`` bool at the image's own size."""
    if masks.ndim != 3 or tuple(masks.shape[1:]) != stitcher.output_hw:
        raise ValueError(
            f"masks must be (R, H, W) at the size of the image {stitcher.output_hw}; got {tuple(masks.shape)}"
        )
    read = [stitcher.rows.T @ (mask.to(stitcher.rows) @ stitcher.cols) for mask in masks]
    size = (0, stitcher.rows.shape[1], stitcher.cols.shape[1])
    return _by_tile(torch.stack(read) if read else stitcher.rows.new_zeros(size), stitcher)


def _cover(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Share of each pixel inside an interval, ``(R, length)`` float32."""
    pixels = torch.arange(length, dtype=torch.float32, device=low.device)
    covered = torch.minimum(high[:, None], pixels + 1) - torch.maximum(low[:, None], pixels)
    return covered.clamp(min=0)


def _by_tile(values: Tensor, stitcher: Stitcher) -> RegionWeights:
    """``(R, Ty * h, Tx * w)`` to ``(R, T * h * w)``, tiles first, as dense embeddings are laid out."""
    (h, w), geometry = stitcher.grid_hw, stitcher.geometry
    split = values.view(len(values), len(geometry.starts_y), h, len(geometry.starts_x), w).transpose(2, 3)
    return RegionWeights(split.flatten(1))


def crop_regions(pixels: Tensor, boxes: Tensor, size_px: int) -> Tensor:
    """Boxes cut out of an image and brought to one square size; every source pixel counts (adaptive RoIAlign).

    Args:
        pixels: ``(3, H, W)`` float.
        boxes: ``(R, 4)`` xyxy in pixels.
        size_px: side of the crops.

    Returns:
        ``(R, 3, s, s)``.
    """
    return roi_align(pixels[None], [boxes.to(pixels.dtype)], (size_px, size_px), 1.0, -1, aligned=True)


@torch.no_grad()
def encode_crops(clip: ClipModel, pixels: Tensor, boxes: Tensor, size_px: int, batch: int = 64) -> Tensor:
    """Reference mode: each box cut out and encoded as an image of its own, ``(R, E)`` float32 unit rows.

    Args:
        clip: the dual encoder.
        pixels: ``(3, H, W)`` float, normalised.
        boxes: ``(R, 4)`` xyxy in pixels; enlarge them first where the background should help.
        size_px: side that the crops are brought to.
        batch: crops per forward pass.
    """
    parts = [
        F.normalize(clip.backbone.encode_pooled(crop_regions(pixels, part, size_px)).float(), dim=1)
        for part in boxes.split(batch)
        if len(part)
    ]
    return torch.cat(parts) if parts else pixels.new_zeros((0, clip.backbone.embed_dim))
