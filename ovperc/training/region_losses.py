"""What the region heads learn from: sampled proposals with their classes, boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads, project_masks_on_boxes

from ovperc.core.structures import TextBank
from ovperc.data.detection.batch import BACKGROUND, DetectionBatch
from ovperc.tasks.detection.heads import BOX_WEIGHTS, DetectionHeads
from ovperc.training.losses.detection import box_loss, mask_loss, region_class_loss


@dataclass(frozen=True)
class SampledRegions:
    """Proposals that a step learns from.

    Attributes:
        boxes: one ``(R_i, 4)`` per image.
        positive: ``(R,)`` bool over all images, whether a region shows an object.
        labels: ``(R, V)`` int64, ``-1`` for background.
        deltas: ``(R, 4)`` towards the matched object; without meaning for background.
        matched: one ``(R_i,)`` per image, the object that each region was compared with.
    """

    boxes: list[Tensor]
    positive: Tensor
    labels: Tensor
    deltas: Tensor
    matched: list[Tensor]


class RegionSampler(RoIHeads):
    """torchvision's matcher and sampler of proposals; objects themselves are added to the proposals.

    Background is label 0 there and ``-1`` here; this class is where the two meet.

    Args:
        samples: regions per image.
        positive_share: most of them that show objects.
        iou: overlap with an object from which a region shows it.
    """

    def __init__(self, samples: int = 512, positive_share: float = 0.25, iou: float = 0.5) -> None:
        super().__init__(None, None, None, iou, iou, samples, positive_share, BOX_WEIGHTS, 0.0, 0.5, 1)

    def forward(self, proposals: Sequence[Tensor], batch: DetectionBatch) -> SampledRegions:
        """Draws regions by torch's global generator."""
        targets = [
            {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)}
            for boxes in batch.boxes
        ]
        boxes, matched, found, deltas = self.select_training_samples(list(proposals), targets)
        positive = torch.cat(found) > 0
        vocabularies = batch.labels[0].shape[1]
        rows = [
            labels[index] if len(labels) else labels.new_full((len(index), vocabularies), BACKGROUND)
            for labels, index in zip(batch.labels, matched, strict=True)
        ]
        labels = torch.cat(rows).masked_fill(~positive[:, None], BACKGROUND)
        return SampledRegions(boxes, positive, labels, torch.cat(list(deltas)), matched)


def class_losses(
    heads: DetectionHeads, embeddings: Tensor, regions: SampledRegions, banks: Sequence[TextBank], background: float
) -> Tensor:
    """Mean over vocabularies of the classification loss."""
    parts = []
    for column, bank in enumerate(banks):
        logits = heads.classifier(embeddings, bank)
        parts.append(region_class_loss(logits.classes, logits.background, regions.labels[:, column], background))
    return torch.stack(parts).mean()


def region_losses(
    heads: DetectionHeads,
    pyramid: Sequence[Tensor],
    regions: SampledRegions,
    embeddings: Tensor,
    deltas: Tensor,
    batch: DetectionBatch,
    banks: Sequence[TextBank],
    background_weight: float,
    mask_samples: int,
) -> dict[str, Tensor]:
    """Losses of classes and boxes, and of masks where the batch has them and the heads make them.

    Args:
        heads: what is trained.
        pyramid: levels of the batch.
        regions: what it learns from.
        embeddings: ``(R, E)`` of ``regions``.
        deltas: ``(R, 4)`` of ``regions``.
        batch: masks of the objects.
        banks: one vocabulary for each column of the labels.
        background_weight: of the classification loss of background.
        mask_samples: most regions per image whose masks are learnt.
    """
    losses = {
        "loss_class": class_losses(heads, embeddings, regions, banks, background_weight),
        "loss_box": box_loss(deltas, regions.deltas, regions.positive),
    }
    if heads.mask_head is not None and batch.masks is not None:
        losses["loss_mask"] = _mask_loss(heads, pyramid, regions, batch.masks, mask_samples)
    return losses


def _mask_loss(
    heads: DetectionHeads, pyramid: Sequence[Tensor], regions: SampledRegions, masks: Sequence[Tensor], most: int
) -> Tensor:
    counts = [len(part) for part in regions.boxes]
    chosen = [_some(found.nonzero().flatten(), most) for found in regions.positive.split(counts)]
    boxes = [part[keep] for part, keep in zip(regions.boxes, chosen, strict=True)]
    if not any(len(part) for part in boxes):
        return pyramid[0].sum() * 0
    logits = heads.mask_logits(pyramid, boxes)
    side = logits.shape[-1]
    wanted = [
        project_masks_on_boxes(mask, box, index[keep], side)
        for mask, box, index, keep in zip(masks, boxes, regions.matched, chosen, strict=True)
        if len(box)
    ]
    return mask_loss(logits, torch.cat(wanted))


def _some(rows: Tensor, most: int) -> Tensor:
    """At most so many of the rows, drawn by torch's global generator."""
    return rows if len(rows) <= most else rows[torch.randperm(len(rows), device=rows.device)[:most]]
