"""Batched encoding of patch windows, and their aggregation to patch scores (WinCLIP, Jeong et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.token_tower import TokenTower
from ovperc.core.structures import DenseFeatures, Tap

TOKENS = Tap(0, "in")
"""Tap from which windows are cut: patch embeddings with positional embeddings."""
_TOKENS_PER_PASS = 65536
_LEAST = torch.finfo(torch.float32).tiny * 2**20
"""Lower bound of scores, so that sums of their inverses stay finite."""


def window_index(grid_hw: tuple[int, int], side: int) -> Tensor:
    """Patch indices of each window, ``((h - k + 1) * (w - k + 1), k * k)`` int64, in row-major order.

    Raises:
        ValueError: the grid is smaller than a window.
    """
    height, width = grid_hw
    if min(height, width) < side:
        raise ValueError(
            f"a window of {side} x {side} patches does not fit a grid of {height} x {width}; enlarge the image "
            "or use smaller windows"
        )
    places = torch.arange(height * width).view(height, width)
    return places.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)


def encode_windows(backbone: DenseBackbone, features: DenseFeatures, sides: Sequence[int]) -> dict[int, Tensor]:
    """Image embeddings of all windows, each computed from the prefix tokens and the window's patches only.

    Every window passes through all blocks, an extra pass required by WinCLIP's definition. Patches are embedded once
    for the image and all windows. Windows of one size form one batch.

    Args:
        backbone: a transformer tower with a position table.
        features: its taps, with :data:`TOKENS`.
        sides: window sides in patches.

    Returns:
        side -> ``(B, windows, E)``, not normalised.

    Raises:
        ValueError: the tower has no tokens or has positional encodings in its blocks, or the grid is too small.
    """
    if not isinstance(backbone, TokenTower):
        raise ValueError(f"WinCLIP needs a transformer tower, such as a CLIP ViT; got {type(backbone).__name__}")
    tokens, patches = features[TOKENS], features.patches(TOKENS)
    prefix = features.num_prefix
    found = {}
    for side in sides:
        index = window_index(features.grid_hw, side).to(tokens.device)
        pieces = []
        step = max(1, _TOKENS_PER_PASS // (len(tokens) * (prefix + side * side)))
        for places in index.split(step):
            windows = patches[:, places]  # (B, windows, k * k, D)
            head = tokens[:, None, :prefix].expand(-1, len(places), -1, -1)
            batch = torch.cat([head, windows], dim=2).flatten(0, 1)
            pieces.append(backbone.encode_tokens(batch, (side, side)).unflatten(0, (len(tokens), len(places))))
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

    A window with score 0 sets its patches to 0.

    Args:
        scores: ``(B, windows)`` float32, non-negative.
        grid_hw: patch grid.
        side: window side in patches.

    Returns:
        ``(B, n)`` float32.
    """
    cover = cover_matrix(grid_hw, side, scores.device)
    inverse = 1.0 / scores.float().clamp(min=_LEAST)
    return cover.sum(dim=1) / (inverse @ cover.T)


def harmonic_mean(planes: Sequence[Tensor]) -> Tensor:
    """``m / sum(1 / s)`` of ``m`` tensors of equal shape."""
    inverse = [1.0 / plane.float().clamp(min=_LEAST) for plane in planes]
    return len(planes) / sum(inverse[1:], start=inverse[0])
