"""The contract of segmentation's metrics: counts of one image, which add up over images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

Labels = Tensor | np.ndarray


class LabelMapMetric(ABC):
    """Figures of predicted label maps against true ones, from counts that are summed over images.

    Attributes:
        name: of its counts in the store.
        titles: figure -> its title in tables, in their order.
    """

    name: ClassVar[str]
    titles: ClassVar[Mapping[str, str]]

    @classmethod
    @abstractmethod
    def of(cls, num_classes: int, ignore_index: int, absent: str) -> LabelMapMetric:
        """An empty count.

        Args:
            num_classes: labels are ``0..num_classes - 1``.
            ignore_index: true label of pixels that do not count.
            absent: what a class counts as that occurs in no label map: ``skip`` or ``zero``.
        """

    @abstractmethod
    def count(self, prediction: Labels, target: Labels) -> np.ndarray:
        """Counts of one image, small enough to be stored; the metric itself stays as it is.

        Args:
            prediction: ``(H, W)`` integer labels; values outside ``0..C-1`` belong to no class.
            target: ``(H, W)`` integer labels in ``0..C-1``, or ``ignore_index``.
        """

    @abstractmethod
    def add(self, counts: np.ndarray) -> None:
        """Adds counts of an image."""

    def update(self, prediction: Labels, target: Labels) -> None:
        """Counts an image and adds it; arguments as for :meth:`count`."""
        self.add(self.count(prediction, target))

    @abstractmethod
    def figures(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """Figures by name, in percent; ``FIGURE.GROUP`` for subsets of the labels, where the metric has such."""

    def by_class(self) -> dict[str, Tensor]:
        """Figures by class, ``(C,)`` float64 in ``[0, 1]``; NaN where a class never occurs."""
        return {}
