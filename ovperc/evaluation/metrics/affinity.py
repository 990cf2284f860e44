"""Quality of patch similarities, independent of text."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def patch_labels(labels: np.ndarray, grid_hw: tuple[int, int], purity: float = 0.9) -> Tensor:
    """The label of every patch, ``(h * w,)`` int64; -1 if no label covers ``purity`` of it.

    Args:
        labels: ``(H, W)`` non-negative integers.
        grid_hw: patch grid; sides of the map are multiples of it.
        purity: minimum fraction of a patch.
    """
    height, width = grid_hw
    cells = labels.reshape(height, labels.shape[0] // height, width, labels.shape[1] // width)
    cells = cells.transpose(0, 2, 1, 3).reshape(height * width, -1)
    found = np.full(len(cells), -1, np.int64)
    for index, cell in enumerate(cells):
        values, counts = np.unique(cell, return_counts=True)
        if counts.max() >= purity * len(cell):
            found[index] = values[counts.argmax()]
    return torch.from_numpy(found)


def affinity_auc(features: Tensor, labels: Tensor) -> float | None:
    """Probability that two patches of a region are more similar than two of different regions (AUROC).

    Args:
        features: ``(n, C)`` of an image.
        labels: ``(n,)`` region of each patch; -1 is ignored.

    Returns:
        0.5 for random, 1 for perfect similarities; None if there are no pairs of either type.
    """
    kept = labels >= 0
    unit = torch.nn.functional.normalize(features[kept].float(), dim=-1)
    regions = labels[kept]
    first, second = torch.triu_indices(len(unit), len(unit), offset=1)
    same = regions[first] == regions[second]
    positives, negatives = int(same.sum()), int((~same).sum())
    if positives == 0 or negatives == 0:
        return None
    similarity = (unit @ unit.T)[first, second]
    order = similarity.argsort()
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(1, len(order) + 1)
    return float((ranks[same].double().sum() - positives * (positives + 1) / 2) / (positives * negatives))
