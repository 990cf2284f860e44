"""Losses of predicted masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_losses(logits: Tensor, target: Tensor) -> Tensor:
    """``2 BCE + (1 - Dice)`` of every mask (Milletari et al., 2016, with 1 added above and below).

    Args:
        logits: ``(P, m, h, w)``.
        target: ``(P, 1, h, w)`` in 0..1.

    Returns:
        ``(P, m)`` float32.
    """
    target = target.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none").mean(dim=(2, 3))
    probability = logits.float().sigmoid()
    overlap = (probability * target).sum(dim=(2, 3))
    dice = (2 * overlap + 1) / (probability.sum(dim=(2, 3)) + target.sum(dim=(2, 3)) + 1)
    return 2 * entropy + 1 - dice


@torch.no_grad()
def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of ``logits > 0`` and ``target > 0.5``, ``(P, m)`` float32; empty on empty counts 0."""
    found, wanted = logits > 0, target > 0.5
    both = (found & wanted).sum(dim=(2, 3)).float()
    return both / (found | wanted).sum(dim=(2, 3)).clamp(min=1)


def promptable_loss(logits: Tensor, quality: Tensor, target: Tensor, *, ambiguous: bool) -> dict[str, Tensor]:
    """SAM's training loss (Kirillov et al., ICCV 2023, section 3): the best alternative learns, and the IoU head.

    Args:
        logits: ``(P, 1 + m, h, w)``, the single mask first.
        quality: ``(P, 1 + m)`` predicted IoU.
        target: ``(P, 1, h, w)`` in 0..1.
        ambiguous: False where the prompt leaves no choice: alternatives then are not trained.

    Returns:
        Losses by name, scalars.
    """
    each = mask_losses(logits, target)
    found = mask_iou(logits, target)
    losses = {"loss_single": each[:, 0].mean(), "loss_iou": (quality.float() - found).square().mean()}
    if ambiguous:
        losses["loss_best"] = each[:, 1:].amin(dim=1).mean() + 0.05 * each[:, 1:].mean()
    return losses
