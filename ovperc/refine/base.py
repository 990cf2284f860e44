"""The refiner contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class Refiner(ABC):
    """Smooths maps by weights that come from the image alone.

    The result is linear in the maps, every channel by itself, with convex weights (none negative, sum 1):
    the classifier relies on it to refine a chunk of queries at a time.
    """

    @abstractmethod
    def prepare(self, guide: Tensor) -> Any:
        """Weights of one image, computed once; ``guide`` is ``(3, H, W)`` float."""

    @abstractmethod
    def refine(self, maps: Tensor, state: Any) -> Tensor:
        """Smooths ``(K, h, w)`` float32 maps; returns ``(K, H, W)`` that the caller may write to."""
