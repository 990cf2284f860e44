"""Tiles merged as features: one canvas for the image, classified once."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.tiling.tiler import Geometry


def splice(tokens: Tensor, grid_hw: tuple[int, int], geometry: Geometry, patch_px: int) -> Tensor:
    """Places the grids of all tiles on one canvas and averages where they overlap (Trident, section 3.2).

    Grids finer than the tower's by a whole factor keep their resolution; others are resized to the tower's
    (bilinear).

    Args:
        tokens: ``(T, n, D)``, tiles by rows.
        grid_hw: grid of every tile, ``n = h * w``.
        geometry: how the tiles were cut; sizes and starts in whole patches, without padding.
        patch_px: stride of the tower.

    Returns:
        ``(D, H, W)`` float32.

    Raises:
        ValueError: tiles that are padded, or do not lie on whole patches.
    """
    lengths = (*geometry.resized_hw, *geometry.crop_hw, *geometry.starts_y, *geometry.starts_x)
    if any(geometry.pad_tblr) or any(length % patch_px for length in lengths):
        raise ValueError(
            f"tiles can be spliced where all sizes are multiples of the patch ({patch_px} px) and nothing is padded; "
            "use Tiler(whole_patches=True, pad='none') with crop and stride of whole patches"
        )
    maps = tokens.transpose(1, 2).unflatten(2, grid_hw).float()
    native = tuple(side // patch_px for side in geometry.crop_hw)
    ratio = grid_hw[0] // native[0]
    if grid_hw != (native[0] * ratio, native[1] * ratio) or ratio < 1:
        maps, ratio = F.interpolate(maps, native, mode="bilinear", align_corners=False), 1
    size = [side // patch_px * ratio for side in geometry.resized_hw]
    canvas = torch.zeros(maps.shape[1], *size, device=maps.device)
    cover = torch.zeros(size, device=maps.device)
    places = [(y, x) for y in geometry.starts_y for x in geometry.starts_x]
    for (y, x), tile in zip(places, maps, strict=True):
        rows = slice(y // patch_px * ratio, y // patch_px * ratio + tile.shape[1])
        columns = slice(x // patch_px * ratio, x // patch_px * ratio + tile.shape[2])
        canvas[:, rows, columns] += tile
        cover[rows, columns] += 1
    return canvas / cover


def as_one_tile(geometry: Geometry) -> Geometry:
    """The whole image as its only tile, at its original size: scores of a spliced canvas are resized once."""
    size_hw = geometry.original_hw
    return dataclasses.replace(geometry, resized_hw=size_hw, crop_hw=size_hw, starts_y=(0,), starts_x=(0,))
