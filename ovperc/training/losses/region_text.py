"""Losses between regions and texts: distillation of crops, and captions as labels of regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NO_ID = -1
"""Fills up the rows of ids; matches nothing."""


def cosine_distances(student: Tensor, teacher: Tensor) -> Tensor:
    """``1 - cos`` of paired rows, ``(R, E), (R, E) -> (R,)`` float32; the teacher gets no gradient (CLIPSelf)."""
    return 1 - F.cosine_similarity(student.float(), teacher.detach().float(), dim=-1)


@dataclass(frozen=True)
class RegionTexts:
    """Regions of pictures whose captions are known.

    Attributes:
        embeddings: ``(R, E)`` of the detector's head.
        ids: ``(R, K)`` int64, pictures whose captions are true of the region; ``NO_ID`` fills a row up. A tile has its
            own picture; a group of tiles has those of all of them.
    """

    embeddings: Tensor
    ids: Tensor


class CaptionQueue(nn.Module):
    """The captions of earlier steps, first in, first out; of this process, and no part of the state.

    Args:
        size: captions kept; 0 for none.
        embed_dim: channels ``E``.
    """

    def __init__(self, size: int, embed_dim: int) -> None:
        super().__init__()
        if size < 0:
            raise ValueError(f"size must not be negative; got {size}")
        self.size = size
        self.register_buffer("embeddings", torch.zeros(0, embed_dim), persistent=False)
        self.register_buffer("ids", torch.zeros(0, dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def push(self, embeddings: Tensor, ids: Tensor) -> None:
        """Adds captions ``(Q, E)`` of pictures ``(Q,)`` and drops the oldest."""
        if len(embeddings) != len(ids):
            raise ValueError(f"every caption has one picture; got {len(embeddings)} captions and {len(ids)} ids")
        kept = max(0, len(self.ids) + len(ids) - self.size)
        self.embeddings = torch.cat([self.embeddings, embeddings.detach().to(self.embeddings)])[kept:]
        self.ids = torch.cat([self.ids, ids.to(self.ids)])[kept:]


class CaptionRegionLoss(nn.Module):
    """Captions as labels of regions: CLIM as a part of detectors that learn from captions (Detic's form).

    With logits ``z = s cos(region, caption) + b`` over the captions of the batch and of the queue::

        loss = mean over regions of  sum over captions of  w BCE(z, y)

    ``y`` is 1 where the caption's picture is one of the region's, and then ``w`` is 1 over their number; for all
    others ``w`` is ``negative_weight``.

    Args:
        embed_dim: channels ``E``.
        scale: ``s`` (25 on OV-COCO, 50 on OV-LVIS).
        bias: ``b`` at the start, learnt (-20 on OV-COCO); ``None`` for none.
        negative_weight: of captions that are not true of a region.
        queue: captions of earlier steps that are kept.
        base_batch: regions divided by it multiply the loss (4 on OV-COCO); 0 leaves that out.
        weight: of the loss.
    """

    def __init__(
        self,
        embed_dim: int,
        scale: float = 25.0,
        bias: float | None = -20.0,
        negative_weight: float = 0.125,
        queue: int = 256,
        base_batch: int = 4,
        weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))
        self.negative_weight = negative_weight
        self.queue = CaptionQueue(queue, embed_dim)
        self.base_batch = base_batch
        self.weight = weight

    def forward(self, regions: RegionTexts, captions: Tensor, ids: Tensor) -> Tensor:
        """The loss; the captions then join the queue.

        Args:
            regions: of this step.
            captions: ``(Q, E)`` text embeddings, one per picture of this step; they get no gradient.
            ids: ``(Q,)`` int64, their pictures.

        Returns:
            Scalar float32; 0, with a gradient of 0, where there is no region.
        """
        known = torch.cat([captions.detach().float(), self.queue.embeddings])
        owners = torch.cat([ids.to(self.queue.ids), self.queue.ids])
        logits = self.scale * F.normalize(regions.embeddings.float(), dim=-1) @ F.normalize(known, dim=-1).T
        if self.bias is not None:
            logits = logits + self.bias
        self.queue.push(captions, ids)
        if not len(logits):
            return logits.sum()
        match = (regions.ids[:, :, None].to(owners) == owners).any(dim=1)
        positives = match.sum(dim=1, keepdim=True).clamp(min=1)
        weights = torch.where(match, 1.0 / positives, self.negative_weight)
        losses = F.binary_cross_entropy_with_logits(logits, match.float(), weights, reduction="none").sum(dim=1)
        factor = len(logits) / self.base_batch if self.base_batch else 1.0
        return self.weight * factor * losses.mean()


def tag_loss(logits: Tensor, tags: Sequence[Tensor]) -> Tensor:
    """Names that occur in captions as labels of regions: BCE summed over classes, mean over regions.

    Args:
        logits: ``(R, C)``.
        tags: for each region the labels that its captions name; several or none.
    """
    targets = torch.zeros_like(logits, dtype=torch.float32)
    for row, labels in enumerate(tags):
        targets[row, labels] = 1.0
    if not len(logits):
        return logits.float().sum()
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").sum(dim=1).mean()


def pick_tag_boxes(
    tiles: Tensor, proposals: Tensor, scores: Tensor, most: int = 128, least_inside: float = 0.3
) -> Tensor:
    """Where in a tile its named object is taken to be: the largest of the best proposals that lie in it.

    Args:
        tiles: ``(T, 4)`` xyxy.
        proposals: ``(P, 4)`` xyxy.
        scores: ``(P,)`` objectness.
        most: best proposals that are looked at.
        least_inside: share of a proposal's area that must lie in the tile.

    Returns:
        ``(T, 4)``, clamped to the tiles; the tile itself where no proposal lies in it.
    """
    chosen = []
    areas = (proposals[:, 2:] - proposals[:, :2]).clamp(min=0).prod(dim=1)
    for tile in tiles:
        inside = torch.cat(
            [torch.maximum(proposals[:, :2], tile[:2]), torch.minimum(proposals[:, 2:], tile[2:])], dim=1
        )
        overlap = (inside[:, 2:] - inside[:, :2]).clamp(min=0).prod(dim=1)
        rows = (overlap > least_inside * areas.clamp(min=1e-6)).nonzero()[:, 0]
        rows = rows[scores[rows].argsort(descending=True, stable=True)[:most]]
        chosen.append(inside[rows[overlap[rows].argmax()]] if len(rows) else tile)
    return torch.stack(chosen) if chosen else tiles
