"""Losses of region heads: classes, boxes, masks, and distillation into region embeddings."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.data.detection.batch import BACKGROUND, IGNORE

NovelLogit = Literal["mask", "zero"]


def region_class_loss(
    classes: Tensor,
    background: Tensor,
    labels: Tensor,
    background_weight: float = 1.0,
    novel: Tensor | None = None,
    novel_logit: NovelLogit = "mask",
) -> Tensor:
    """Softmax cross-entropy over classes and background.

    The weight of background regions multiplies their terms, and the sum is divided by the number of regions, as in
    F-ViT, not by the sum of weights as ``torch`` would.

    Args:
        classes: ``(R, C)`` logits.
        background: ``(R,)`` logits.
        labels: ``(R,)`` int64, ``-1`` for background, ``-2`` for regions that are left out.
        background_weight: of regions that are background.
        novel: ``(C,)`` bool, classes that training must not know of.
        novel_logit: ``mask`` takes novel classes out of the softmax; ``zero`` sets their logits to 0, as the released
            ViLD code does, so that each adds 1 to the denominator.

    Returns:
        Scalar float32; 0 for no regions.
    """
    counted = labels != IGNORE
    labels = labels[counted]
    logits = torch.cat([classes, background[:, None]], dim=1).float()[counted]
    if novel is not None:
        fill = -torch.inf if novel_logit == "mask" else 0.0
        logits = logits.masked_fill(F.pad(novel, (0, 1))[None], fill)
    is_background = labels == BACKGROUND
    targets = labels.masked_fill(is_background, classes.shape[1])
    rows = F.cross_entropy(logits, targets, reduction="none")
    weights = torch.where(is_background, background_weight, 1.0)
    return (rows * weights).sum() / max(len(rows), 1)


def box_loss(deltas: Tensor, wanted: Tensor, positive: Tensor, beta: float = 1 / 9) -> Tensor:
    """Smooth L1 of class-agnostic box deltas over positive regions, divided by the number of all regions.

    Equal to torchvision's ``fastrcnn_loss`` where there is one class.

    Args:
        deltas: ``(R, 4)``.
        wanted: ``(R, 4)``.
        positive: ``(R,)`` bool.
        beta: where the loss turns from square to linear; 0 gives L1.
    """
    total = F.smooth_l1_loss(deltas[positive].float(), wanted[positive].float(), beta=beta, reduction="sum")
    return total / max(len(deltas), 1)


def mask_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over pixels of all positive regions; ``(P, s, s)`` each; 0 for none."""
    if logits.numel() == 0:
        return logits.sum() * 0
    return F.binary_cross_entropy_with_logits(logits.float(), wanted.float())


def embedding_distillation(students: Tensor, teachers: Tensor, kind: Literal["l1", "cosine"] = "l1") -> Tensor:
    """ViLD-image (Gu et al., ICLR 2022, eq. 4): unit region embeddings follow the teacher's.

    Args:
        students: ``(R, E)``.
        teachers: ``(R, E)``.
        kind: ``l1``, the sum over channels of absolute differences, or ``cosine``, ``1 - cos``.

    Returns:
        Mean over regions, a scalar; 0 for none.
    """
    students, teachers = (F.normalize(part.float(), dim=1) for part in (students, teachers))
    if kind == "l1":
        rows = (students - teachers).abs().sum(dim=1)
    elif kind == "cosine":
        rows = 1 - (students * teachers).sum(dim=1)
    else:
        raise ValueError(f"kind must be 'l1' or 'cosine'; got {kind!r}")
    return rows.sum() / max(len(rows), 1)
