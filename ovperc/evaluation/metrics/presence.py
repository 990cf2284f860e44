"""Presence: how a method behaves when it is asked for what is not there.

Per image the classes that its truth holds are asked together with ``k`` classes that it does not hold. Two figures:

* **false area**: the share of evaluated pixels given to absent classes, mean over images;
* **presence AUROC**: how well the highest confidence among the pixels a class wins (0 if it wins none) tells
  present from absent classes, over all asked classes of all images; 0.5 is chance.
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
    """Classes to ask for that an image does not hold; the same ones whatever image came before.

    Args:
        present: labels that the image holds.
        candidates: labels to choose from.
        count: how many; fewer if there are fewer.
        key: names the image (and the benchmark); seeds the choice.

    Returns:
        Sorted labels.
    """
    absent = sorted(set(candidates) - set(present))
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    chosen = np.random.default_rng(seed).permutation(len(absent))[:count]
    return tuple(sorted(absent[index] for index in chosen))


def restrict_bank(bank: TextBank, labels: Sequence[int]) -> TextBank:
    """The bank with some of its classes only.

    Args:
        bank: words of a whole benchmark.
        labels: what is kept, rising; with a background policy it must begin with label 0, the background.

    Returns:
        A bank whose label ``i`` is ``labels[i]`` of the old one.
    """
    if list(labels) != sorted(set(labels)) or not labels:
        raise ValueError(f"labels must be rising and not empty; got {list(labels)}")
    if bank.background.enabled and labels[0] != 0:
        raise ValueError("a bank with a background keeps label 0; name it first")
    renumber = torch.full((bank.num_classes,), -1, dtype=torch.int64, device=bank.owners.device)
    renumber[list(labels)] = torch.arange(len(labels), device=bank.owners.device)
    owners = renumber[bank.owners]
    kept = owners >= 0
    background: Background = bank.background
    return TextBank(
        bank.embeddings[kept], owners[kept], tuple(bank.names[label] for label in labels), bank.fingerprint, background
    )


class PresenceMeter:
    """False area and presence AUROC over any number of images, in memory that does not grow.

    Confidences are counted in 65,536 levels, so the AUROC is exact for confidences rounded to 1 / 65535.

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
        """Counts of one image, for :meth:`add`.

        Args:
            labels: ``(H, W)`` integers, index into the asked classes.
            confidence: ``(H, W)`` float in ``[0, 1]``.
            counted: ``(H, W)`` bool, pixels with a true label.
            is_present: asked class -> whether the image holds it; ``None`` for the background, which is not judged.

        Returns:
            ``presence_levels`` ``(2, N)`` int64, whether each judged class is present and its level;
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
        """Adds what :meth:`count` gave for an image."""
        present, levels = torch.from_numpy(counts["presence_levels"])
        self.histograms.index_put_((present, levels), torch.ones_like(levels), accumulate=True)
        area = torch.from_numpy(counts["presence_area"])
        self.area += torch.tensor([float(area.sum()), float(len(area))], dtype=torch.float64)

    def update(self, labels: Tensor, confidence: Tensor, counted: Tensor, is_present: Sequence[bool | None]) -> None:
        """Counts an image and adds it; arguments as for :meth:`count`."""
        self.add(self.count(labels, confidence, counted, is_present))

    def false_area(self) -> float:
        """Share of pixels given to absent classes, in percent; NaN without an image."""
        return 100.0 * float(self.area[0] / self.area[1])

    def auroc(self) -> float:
        """Probability that a present class has a higher confidence than an absent one, ties half; in percent."""
        absent, present = self.histograms.double()
        below = absent.cumsum(0) - absent
        wins = (present * (below + 0.5 * absent)).sum()
        return 100.0 * float(wins / (absent.sum() * present.sum()))

    def scores(self) -> dict[str, float]:
        """Both figures by name, in percent."""
        return {"false_area": self.false_area(), "presence_AUROC": self.auroc()}
