"""Queries that describe regions: matching, boxes and words (GRAIN, Shaikh et al., 2024; DETR's matching)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_convert, generalized_box_iou

from ovperc.training.losses.gather import gather_rows, mean_over_processes


@dataclass(frozen=True)
class Matches:
    """Which query describes which box; pairs of all images laid end to end.

    Attributes:
        image, query: ``(M,)`` int64.
        box: ``(M,)`` int64, counted through all boxes of the batch.
    """

    image: Tensor
    query: Tensor
    box: Tensor


@torch.no_grad()
def match_queries(predicted: Tensor, boxes: Sequence[Tensor], l1_cost: float = 5.0, giou_cost: float = 2.0) -> Matches:
    """The cheapest one-to-one assignment in each image, ``5 L1 - 2 GIoU``.

    Args:
        predicted: ``(B, Q, 4)`` ``cxcywh`` in 0..1.
        boxes: one ``(n_i, 4)`` ``cxcywh`` in 0..1 per image; of more boxes than queries the dearest stay alone.
        l1_cost, giou_cost: weights.
    """
    images, queries, owners, first = [], [], [], 0
    for number, (found, wanted) in enumerate(zip(predicted.float(), boxes, strict=True)):
        if len(wanted):
            cost = l1_cost * torch.cdist(found, wanted.float(), p=1) - giou_cost * _giou(found, wanted.float())
            rows, columns = linear_sum_assignment(cost.cpu().numpy())
            images += [number] * len(rows)
            queries += rows.tolist()
            owners += [first + column for column in columns.tolist()]
        first += len(wanted)
    return Matches(
        *(torch.tensor(part, dtype=torch.int64, device=predicted.device) for part in (images, queries, owners))
    )


def box_losses(predicted: Tensor, boxes: Sequence[Tensor], matches: Matches) -> tuple[Tensor, Tensor]:
    """``L1`` (summed over coordinates) and ``1 - GIoU``, means over the matched boxes of all processes."""
    found = predicted[matches.image, matches.query].float()
    wanted = torch.cat(list(boxes)).float()[matches.box]
    pairs = torch.diagonal(_giou(found, wanted)) if len(found) else found.sum(dim=1)
    return mean_over_processes((found - wanted).abs().sum(dim=1)), mean_over_processes(1 - pairs)


def word_loss(regions: Tensor, phrases: Tensor, matches: Matches, scale: Tensor) -> Tensor:
    """Each matched query names its own phrase among those of all processes; one direction.

    Args:
        regions: ``(B, Q, E)`` unit rows.
        phrases: ``(N, E)`` unit rows, one per box of this process's batch; they get no gradient.
        matches: of :func:`match_queries`; the index of a phrase is carried along, so a box that stays alone shifts
            no other.
        scale: scalar, the inverse temperature.
    """
    every, first = gather_rows(phrases)
    logits = scale.float() * regions[matches.image, matches.query].float() @ every.float().T
    return mean_over_processes(F.cross_entropy(logits, matches.box + first, reduction="none"))


def _giou(first: Tensor, second: Tensor) -> Tensor:
    corners = [box_convert(boxes, "cxcywh", "xyxy") for boxes in (first, second)]
    return generalized_box_iou(*corners)
