"""Reduction of prompt scores to classes."""

from __future__ import annotations

import torch
from torch import Tensor


def max_by_owner_(best: Tensor, values: Tensor, owners: Tensor) -> Tensor:
    """Raises ``best`` to the largest value of each class, in place.

    Args:
        best: ``(C, ...)``, written to.
        values: ``(q, ...)``, one entry per prompt.
        owners: ``(q,)`` int64, class of each prompt, non-decreasing.

    Returns:
        ``best``.
    """
    classes, counts = torch.unique_consecutive(owners, return_counts=True)
    for label, prompts in zip(classes.tolist(), values.split(counts.tolist()), strict=True):
        best[label] = torch.maximum(best[label], prompts.amax(dim=0))
    return best
