"""Base class of segmentation metrics, with counts that are additive over images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

Labels = Tensor | np.ndarray


class LabelMapMetric(ABC):
    """A metric of label maps, from counts that are summed over images.

    Attributes:
        name: name of its counts in the store.
        titles: metric -> title in tables, in order.
    """

    name: ClassVar[str]
    titles: ClassVar[Mapping[str, str]]

    @classmethod
    @abstractmethod
    def of(cls, num_classes: int, ignore_index: int, absent: str) -> LabelMapMetric:
        """Creates an empty metric.

        Args:
            num_classes: number of labels, ``0..num_classes - 1``.
            ignore_index: label of ignored pixels.
            absent: how to count classes that occur in no label map: ``skip`` or ``zero``.
        """

    @abstractmethod
    def count(self, prediction: Labels, target: Labels) -> np.ndarray:
        """Counts of an image, small enough to be stored; does not change the metric.

        Args:
            prediction: ``(H, W)`` integer labels; values outside ``0..C-1`` are not a class.
            target: ``(H, W)`` integer labels in ``0..C-1``, or ``ignore_index``.
        """

    @abstractmethod
    def add(self, counts: np.ndarray) -> None:
        """Adds the counts of an image."""

    def update(self, prediction: Labels, target: Labels) -> None:
        """Counts an image and adds it; arguments as in :meth:`count`."""
        self.add(self.count(prediction, target))

    @abstractmethod
    def figures(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """Metrics by name, in percent, with ``METRIC.GROUP`` for subsets of the labels if supported."""

    def by_class(self) -> dict[str, Tensor]:
        """Metrics per class, ``(C,)`` float64 in ``[0, 1]``; NaN for absent classes."""
        return {}
