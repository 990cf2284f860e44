"""Position tables resized to any patch grid, by the rules that published methods and towers use."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.core.naming import suggest

MODES: tuple[str, ...] = ("scale", "size", "bilinear_square", "size_aa", "square_crop", "square_crop_corners")


def resize_pos_embed(
    table: Tensor, grid_hw: tuple[int, int], mode: str, native_hw: tuple[int, int] | None = None
) -> Tensor:
    """Resamples a learned position table; pure, in float32, cast back to the dtype of the table.

    The rules differ by 3-9 % of the table's scale, so a method that quotes published numbers names its own:

    * ``scale``: bicubic, scale factors ``((h + 0.1) / g_h, (w + 0.1) / g_w)`` used as given for the sampling
      coordinates (SCLIP, ClearCLIP, NACLIP, ProxyCLIP, Trident, DINO);
    * ``size``: bicubic to the size ``(h, w)`` (MaskCLIP, CLIP-DINOiser);
    * ``bilinear_square``: bilinear (CLIP Surgery). The reference knows square grids only; other grids are
      resampled to ``(h, w)``, which is the same on squares;
    * ``size_aa``: antialiased bicubic to the size ``(h, w)`` (timm, GEM);
    * ``square_crop``: bilinear to a square of the longer side, of which the top left ``(h, w)`` is taken (RADIO); with
      ``_corners``, the corners of both squares are aligned, as C-RADIOv3-B and -H were released.

    Args:
        table: ``(g_h * g_w, D)`` or ``(1, g_h * g_w, D)``, patches only, row-major.
        grid_hw: wanted patch grid ``(h, w)``.
        mode: one of ``MODES``.
        native_hw: grid of the table; left out, the table is taken as square.

    Returns:
        ``(h * w, D)`` or ``(1, h * w, D)``; the table itself when the grid is its own.

    Raises:
        ValueError: for an unknown mode, or a table that does not fill its grid.
    """
    check_mode(mode)
    native_hw = native_hw or _square(table.shape[-2])
    if native_hw[0] * native_hw[1] != table.shape[-2]:
        raise ValueError(f"a position table of {table.shape[-2]} rows does not fill a grid of {native_hw}")
    if mode == "scale" and torch.compiler.is_exporting():
        return _resize_traced(table, grid_hw, native_hw)
    if tuple(grid_hw) == tuple(native_hw):
        return table
    planes = table.reshape(1, *native_hw, table.shape[-1]).permute(0, 3, 1, 2).float()
    resized = _interpolate(planes, grid_hw, mode)
    rows = resized.permute(0, 2, 3, 1).reshape(*table.shape[:-2], grid_hw[0] * grid_hw[1], table.shape[-1])
    return rows.to(table.dtype)


def check_mode(mode: str) -> None:
    """Raises ValueError, with near matches, for a mode that does not exist."""
    if mode not in MODES:
        raise ValueError(f"unknown pos_embed mode {mode!r}; {suggest(mode, MODES)}")


def _square(rows: int) -> tuple[int, int]:
    side = math.isqrt(rows)
    if side * side != rows:
        raise ValueError(f"a position table of {rows} rows is not square; pass native_hw=(g_h, g_w)")
    return side, side


def _interpolate(planes: Tensor, grid_hw: tuple[int, int], mode: str) -> Tensor:
    """``(1, D, g_h, g_w)`` float32 -> ``(1, D, h, w)``."""
    if mode == "scale":
        factors = tuple((wanted + 0.1) / have for wanted, have in zip(grid_hw, planes.shape[-2:], strict=True))
        return F.interpolate(planes, scale_factor=factors, mode="bicubic", align_corners=False)
    if mode.startswith("square_crop"):
        side = max(grid_hw)
        square = F.interpolate(planes, size=(side, side), mode="bilinear", align_corners=mode.endswith("corners"))
        return square[..., : grid_hw[0], : grid_hw[1]]
    kind = "bilinear" if mode == "bilinear_square" else "bicubic"
    return F.interpolate(planes, size=tuple(grid_hw), mode=kind, align_corners=False, antialias=mode == "size_aa")


def _resize_traced(table: Tensor, grid_hw: tuple[int, int], native_hw: tuple[int, int]) -> Tensor:
    """Mode ``scale`` in a traced graph, whose own resize would fix the scale factor of a grid that is free.

    Bicubic interpolation (a = -0.75, replicated border) is separable: one matrix a side, made of the sizes.
    """
    sides = [torch.arange(side, device=table.device) for side in grid_hw]
    lengths = [torch.ones_like(side, dtype=torch.float32).sum() for side in sides]
    native = torch.stack([length == have for length, have in zip(lengths, native_hw, strict=True)]).all()
    rows, cols = (
        _cubic_matrix(side, torch.where(native, torch.ones_like(length), have / (length + 0.1)), have)
        for side, length, have in zip(sides, lengths, native_hw, strict=True)
    )
    planes = table.reshape(*native_hw, table.shape[-1]).float()
    upright = (rows @ planes.flatten(1)).reshape(-1, native_hw[1], table.shape[-1])
    resized = cols @ upright
    return resized.reshape(*table.shape[:-2], -1, table.shape[-1]).to(table.dtype)


def _cubic_matrix(places: Tensor, step: Tensor, native: int) -> Tensor:
    """Bicubic weights ``(len(places), native)`` of places that are ``step`` source rows apart."""
    centre = (places + 0.5) * step - 0.5
    floor = centre.floor()
    columns = torch.arange(native, device=places.device)
    total: Tensor | None = None
    for offset in (-1, 0, 1, 2):
        distance = (centre - floor - offset).abs()
        near = (1.25 * distance - 2.25) * distance.square() + 1
        far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
        index = (floor.long() + offset).clamp(0, native - 1)
        part = torch.where(distance <= 1, near, far)[:, None] * (index[:, None] == columns)
        total = part if total is None else total + part
    return total


def add_pos_embed(
    tokens: Tensor, table: Tensor, num_prefix: int, grid_hw: tuple[int, int], mode: str, native_hw: tuple[int, int]
) -> Tensor:
    """Adds a table whose first ``num_prefix`` rows belong to prefix tokens and are never resampled.

    Args:
        tokens: ``(B, num_prefix + h * w, D)``.
        table: ``(num_prefix + g_h * g_w, D)``.
    """
    patches = resize_pos_embed(table[num_prefix:], grid_hw, mode, native_hw)
    rows = torch.cat([table[:num_prefix], patches]) if num_prefix else patches
    return tokens + rows.to(tokens.dtype)
