"""The refiner contracts: of score maps, and of labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor


class Refiner(ABC):
    """Smooths maps by weights that come from the image alone.

    The result is linear in the maps, every channel by itself, with convex weights (none negative, sum 1):
    the classifier relies on it to refine a chunk of queries at a time.
    """

    @abstractmethod
    def prepare(self, guidance: Tensor) -> Any:
        """Weights of one image, computed once; ``guidance`` is ``(3, H, W)`` float."""

    @abstractmethod
    def refine(self, maps: Tensor, state: Any) -> Tensor:
        """Smooths ``(K, h, w)`` float32 maps; returns ``(K, H, W)`` that the caller may write to."""


@dataclass(frozen=True)
class RefinedLabels:
    """What came of a refinement.

    Attributes:
        labels: ``(H, W)`` int32.
        scores: ``(C, H, W)`` float32.
        regions: how many regions were looked at.
        accepted: how many of them were redrawn; 0 leaves labels and scores as they were.
    """

    labels: Tensor
    scores: Tensor
    regions: int
    accepted: int


class LabelRefiner(ABC):
    """Redraws a coarse answer with another look at the image."""

    @abstractmethod
    def embed(self, image: np.ndarray) -> Any:
        """The look at the image ``(H, W, 3)`` uint8 RGB; serves any number of vocabularies."""

    @abstractmethod
    def redraw(self, image: Any, labels: Tensor, scores: Tensor) -> RefinedLabels:
        """Refines ``(H, W)`` int32 labels by ``(C, H, W)`` float32 probabilities of the classes they name."""
