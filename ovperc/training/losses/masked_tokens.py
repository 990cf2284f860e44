"""Masks over patches and the loss of locality alignment (MaskEmbed, Covert et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.training.losses.gather import mean_over_processes


def draw_patch_masks(patches: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Three masks for each image: ``m``, ``1 - m`` and everything, ``(B, 3, n)`` float32.

    ``m_i = [u_i > u_0]`` with uniform ``u``, so that any share of the patches is kept equally often.
    """
    rows = []
    for generator in generators:
        draws = torch.rand(patches + 1, generator=generator)
        mask = (draws[1:] > draws[0]).float()
        rows.append(torch.stack([mask, 1 - mask, torch.ones(patches)]))
    return torch.stack(rows)


def mask_pixels(images: Tensor, masks: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Zeroes the patches that masks leave out, ``(B, 3, H, W), (B, K, n) -> (B K, 3, H, W)``; images are normalised."""
    count = masks.shape[1]
    maps = masks.unflatten(2, grid_hw).flatten(0, 1)[:, None]
    pixels = F.interpolate(maps, images.shape[-2:], mode="nearest")
    return images.repeat_interleave(count, dim=0) * pixels.to(images)


def reconstruction_loss(predicted: Tensor, taught: Tensor, sigma: float) -> Tensor:
    """Mean squared error over all tokens, in units of the teacher's standard deviation.

    Args:
        predicted: ``(N, p + n, D)``, already in these units.
        taught: ``(N, p + n, D)``.
        sigma: standard deviation of the teacher's outputs, measured once.
    """
    errors = (predicted.float() - taught.detach().float() / sigma).square()
    return mean_over_processes(errors.flatten(1).mean(dim=1))
