"""Windows of patch tokens, encoded all at once, and what they say of each patch (WinCLIP, Jeong et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ovperc.backbones.token_tower import TokenTower

_TOKENS_PER_PASS = 65536
_LEAST = torch.finfo(torch.float32).tiny * 2**20
"""Scores below it count as it, so that their inverses and sums of them stay finite."""


def window_index(grid_hw: tuple[int, int], side: int) -> Tensor:
    """Patches of each window, ``((h - k + 1) * (w - k + 1), k * k)`` int64, windows and patches by rows.

    Raises:
        ValueError: the grid is smaller than a window.
    """
    height, width = grid_hw
    if min(height, width) < side:
        raise ValueError(
            f"a window of {side} x {side} patches does not fit a grid of {height} x {width}: enlarge the image, "
            "or use smaller windows"
        )
    places = torch.arange(height * width).view(height, width)
    return places.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)


def encode_windows(
    backbone: TokenTower, tokens: Tensor, grid_hw: tuple[int, int], positions: object, sides: Sequence[int]
) -> dict[int, Tensor]:
    """The tower's image embedding of every window, made of its prefix tokens and the window's patches only.

    Every patch keeps the position of its place in the image. Windows of one side have equal length and are one
    batch.

    Args:
        backbone: the tower.
        tokens: ``(B, p + n, D)`` entering its first block.
        grid_hw: patch grid.
        positions: rotary tables of the tower; must be None.
        sides: window sides in patches.

    Returns:
        side -> ``(B, windows, E)``, not normalised.

    Raises:
        ValueError: a tower with rotary positions or without an image embedding, or too small a grid.
    """
    if positions is not None or not hasattr(backbone, "pool"):
        raise ValueError(
            f"windows need a tower with a position table and an image embedding; {type(backbone).__name__} with these "
            "weights has none: use a CLIP ViT"
        )
    prefix = backbone.num_prefix
    found = {}
    for side in sides:
        index = window_index(grid_hw, side).to(tokens.device)
        pieces = []
        step = max(1, _TOKENS_PER_PASS // (len(tokens) * (prefix + side * side)))
        for places in index.split(step):
            windows = tokens[:, prefix:][:, places]  # (B, windows, k * k, D)
            head = tokens[:, None, :prefix].expand(-1, len(places), -1, -1)
            batch = torch.cat([head, windows], dim=2).flatten(0, 1)
            for layer in range(backbone.depth):
                batch = backbone.view(layer).run(batch)
            pieces.append(backbone.pool(batch).unflatten(0, (len(tokens), len(places))))
        found[side] = torch.cat(pieces, dim=1)
    return found


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def cover_matrix(grid_hw: tuple[int, int], side: int, device: torch.device) -> Tensor:
    """``Q``: which windows cover which patch, ``(n, windows)`` float32 of zeros and ones."""
    index = window_index(grid_hw, side)
    cover = torch.zeros(grid_hw[0] * grid_hw[1], len(index))
    cover[index.T, torch.arange(len(index))] = 1.0
    return cover.to(device)


def harmonic_aggregate(scores: Tensor, grid_hw: tuple[int, int], side: int) -> Tensor:
    """Harmonic mean over the windows that cover a patch, ``n_windows / (Q (1 / s))``: one matrix product.

    A window that scores 0 pulls its patches to 0.

    Args:
        scores: ``(B, windows)`` float32, not negative.
        grid_hw: patch grid.
        side: of the windows, in patches.

    Returns:
        ``(B, n)`` float32.
    """
    cover = cover_matrix(grid_hw, side, scores.device)
    inverse = 1.0 / scores.float().clamp(min=_LEAST)
    return cover.sum(dim=1) / (inverse @ cover.T)


def harmonic_mean(planes: Sequence[Tensor]) -> Tensor:
    """``m / sum(1 / s)`` of ``m`` tensors of one shape."""
    return len(planes) / sum(1.0 / plane.float().clamp(min=_LEAST) for plane in planes)
