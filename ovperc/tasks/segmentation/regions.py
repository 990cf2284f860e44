"""Naming given boxes or masks with any words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovperc.core.boxes import as_boxes, box_sides, clip_boxes
from ovperc.core.inference import inference
from ovperc.core.structures import TextBank
from ovperc.readout.regions import stitched_box_weights, stitched_mask_weights
from ovperc.tasks.segmentation.segmenter import DenseSegmenter, ImageEmbeddings
from ovperc.text.classifier import check_bank
from ovperc.text.region_scores import word_logits


@dataclass(frozen=True)
class RegionLabels:
    """What regions are.

    Attributes:
        labels: ``(R,)`` int64, index into ``names``.
        confidence: ``(R,)`` float32 in 0..1, softmax probability of the label.
        scores: ``(R, C)`` float32 softmax probabilities of all names.
        names: label -> name; label 0 is background where the words bring one.
    """

    labels: np.ndarray
    confidence: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]

    @property
    def found(self) -> tuple[str, ...]:
        """Name of each region."""
        return tuple(self.names[label] for label in self.labels)

    def __len__(self) -> int:
        return len(self.labels)


@inference()
def classify_regions(segmenter: DenseSegmenter, encoded: ImageEmbeddings, regions: Any, bank: TextBank) -> RegionLabels:
    """Names regions of an encoded image by the mean of its dense features inside them.

    Args:
        segmenter: made ``encoded``; its readout and the scale of its classifier are used.
        encoded: from :meth:`DenseSegmenter.encode`.
        regions: boxes ``(R, 4)`` xyxy in pixels of the image, or masks ``(R, H, W)`` bool of its size.
        bank: words embedded by the same model.

    Raises:
        ValueError: boxes that are not finite or not in order, or a region without any pixel of the image; another
            encoder's bank.
    """
    patches = encoded.embeddings.patches
    check_bank(bank, encoded.fingerprint, patches.shape[1])
    table = (
        torch.as_tensor(regions) if isinstance(regions, Tensor | np.ndarray) else torch.as_tensor(np.asarray(regions))
    )
    if table.ndim == 3:
        masks = table.bool().to(patches.device)
        _refuse_empty(masks.flatten(1).sum(dim=1), "masks")
        weights = stitched_mask_weights(masks, encoded.stitcher)
    else:
        boxes = clip_boxes(as_boxes(table), encoded.original_hw).to(patches.device)
        _refuse_empty(box_sides(boxes).amin(dim=1), "boxes")
        weights = stitched_box_weights(boxes, encoded.stitcher)
    logits = word_logits(weights.pool(patches), bank.to(patches.device), segmenter.classifier.logit_scale)
    scores = logits.softmax(dim=1)
    best = scores.max(dim=1)
    labels, confidence = best.indices, best.values
    if bank.background.threshold:
        labels = torch.where(confidence < bank.background.threshold, 0, labels)
    return RegionLabels(labels.cpu().numpy(), confidence.cpu().numpy(), scores.cpu().numpy(), bank.names)


def _refuse_empty(sizes: Tensor, name: str) -> None:
    empty = (sizes <= 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"{name} must hold some of the image; rows {empty[:8]} hold no pixel of it")
