"""Presence: how a method handles absent classes in the vocabulary.

Each image is segmented with its ground-truth classes and ``k`` absent classes. Two metrics:

* **false area**: the fraction of evaluated pixels assigned to absent classes, mean over images;
* **presence AUROC**: how well the highest confidence among a class's pixels (0 if it has none) separates present
  from absent classes, over all classes of all images; 0.5 is random.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ovperc.core.structures import Background, TextBank

_LEVELS = 1 << 16


def choose_absent(present: Sequence[int], candidates: Sequence[int], count: int, key: str) -> tuple[int, ...]:
    """Samples absent classes for an image, independently of other images.

    Args:
        present: labels in the image.
        candidates: labels to choose from.
        count: number of classes; fewer if there are fewer candidates.
        key: name of the image (and benchmark), which seeds the choice.

    Returns:
        Sorted labels.
    """
    absent = sorted(set(candidates) - set(present))
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    chosen = np.random.default_rng(seed).permutation(len(absent))[:count]
    return tuple(sorted(absent[index] for index in chosen))


def restrict_bank(bank: TextBank, labels: Sequence[int]) -> TextBank:
    """A text bank with a subset of the classes.

    Args:
        bank: text bank of a benchmark.
        labels: labels to keep, ascending; with a background policy the first must be label 0, the background.

    Returns:
        A bank whose label ``i`` is ``labels[i]`` of the old one.
    """
    if list(labels) != sorted(set(labels)) or not labels:
        raise ValueError(f"labels must be ascending and not empty; got {list(labels)}")
    if bank.background.enabled and labels[0] != 0:
        raise ValueError("labels of a bank with background must start with label 0")
    renumber = torch.full((bank.num_classes,), -1, dtype=torch.int64, device=bank.owners.device)
    renumber[list(labels)] = torch.arange(len(labels), device=bank.owners.device)
    owners = renumber[bank.owners]
    kept = owners >= 0
    background: Background = bank.background
    return TextBank(
        bank.embeddings[kept], owners[kept], tuple(bank.names[label] for label in labels), bank.fingerprint, background
    )


class PresenceMeter:
    """Accumulates false area and presence AUROC over images, in constant memory.

    Confidences are quantised to 65,536 levels, so the AUROC is exact for confidences rounded to 1 / 65535.

    Attributes:
        histograms: ``(2, 65536)`` int64, confidences of absent (0) and present (1) classes.
        area: ``(2,)`` float64: sum of false areas, number of images.
    """

    titles: ClassVar[Mapping[str, str]] = {"false_area": "false area", "presence_AUROC": "presence AUROC"}

    def __init__(self) -> None:
        self.histograms = torch.zeros(2, _LEVELS, dtype=torch.int64)
        self.area = torch.zeros(2, dtype=torch.float64)

    @staticmethod
    def count(
        labels: Tensor, confidence: Tensor, counted: Tensor, is_present: Sequence[bool | None]
    ) -> dict[str, np.ndarray]:
        """Counts of an image, for :meth:`add`.

        Args:
            labels: ``(H, W)`` integers, indices into the vocabulary.
            confidence: ``(H, W)`` float in ``[0, 1]``.
            counted: ``(H, W)`` bool, evaluated pixels.
            is_present: class -> whether it is in the image; ``None`` for the background, which is not evaluated.

        Returns:
            ``presence_levels`` ``(2, N)`` int64, whether each evaluated class is present, and its level;
            ``presence_area`` ``(0 or 1,)`` float64.
        """
        labels, confidence = labels.cpu().long()[counted.cpu()], confidence.cpu().float()[counted.cpu()]
        absent = torch.tensor([state is False for state in is_present])
        highest = torch.zeros(len(is_present)).scatter_reduce_(0, labels, confidence, "amax")
        levels = (highest.clamp(0, 1) * (_LEVELS - 1)).round().long()
        judged = torch.tensor([state is not None for state in is_present])
        present = (~absent).long()
        area = absent[labels].double().mean().reshape(1) if labels.numel() else torch.zeros(0, dtype=torch.float64)
        return {
            "presence_levels": torch.stack([present[judged], levels[judged]]).numpy(),
            "presence_area": area.numpy(),
        }

    def add(self, counts: Mapping[str, np.ndarray]) -> None:
        """Adds the result of :meth:`count`."""
        present, levels = torch.from_numpy(counts["presence_levels"])
        self.histograms.index_put_((present, levels), torch.ones_like(levels), accumulate=True)
        area = torch.from_numpy(counts["presence_area"])
        self.area += torch.tensor([float(area.sum()), float(len(area))], dtype=torch.float64)

    def update(self, labels: Tensor, confidence: Tensor, counted: Tensor, is_present: Sequence[bool | None]) -> None:
        """Counts an image and adds it; arguments as for :meth:`count`."""
        self.add(self.count(labels, confidence, counted, is_present))

    def false_area(self) -> float:
        """Fraction of pixels assigned to absent classes, in percent; NaN without images."""
        return 100.0 * float(self.area[0] / self.area[1])

    def auroc(self) -> float:
        """Probability that a present class has a higher confidence than an absent one (ties count half), in percent."""
        absent, present = self.histograms.double()
        below = absent.cumsum(0) - absent
        wins = (present * (below + 0.5 * absent)).sum()
        return 100.0 * float(wins / (absent.sum() * present.sum()))

    def scores(self) -> dict[str, float]:
        """Both metrics by name, in percent."""
        return {"false_area": self.false_area(), "presence_AUROC": self.auroc()}
