"""Base class of anomaly data sets, from files or generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

GOOD = "good"


@dataclass(frozen=True)
class AnomalyRecord:
    """A test image, not loaded yet.

    Attributes:
        name: unique in its set, such as ``"bottle/broken_large/003"``.
        category: product.
        kind: defect type; ``"good"`` for a normal image.
        anomalous: whether the image is anomalous.
    """

    name: str
    category: str
    kind: str
    anomalous: bool


@dataclass(frozen=True)
class AnomalySample:
    """An image with its ground truth.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        mask: ``(H, W)`` bool, True on anomalous pixels; all False for a normal image; None if the data set has no
            masks.
        record: the image's record.
    """

    image: np.ndarray
    mask: np.ndarray | None
    record: AnomalyRecord


@runtime_checkable
class AnomalyImages(Protocol):
    """A test set of several categories, with normal training images where available.

    Attributes:
        categories: category names, in order.
        words: category -> object name (``"metal nut"``).
        records: test images; image ``i`` is ``self[i]``.
    """

    categories: tuple[str, ...]
    words: Mapping[str, str]
    records: Sequence[AnomalyRecord]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> AnomalySample: ...

    def num_normal(self, category: str) -> int:
        """Number of normal training images of a category."""
        ...

    def normal_image(self, category: str, index: int) -> np.ndarray:
        """A normal training image, ``(H, W, 3)`` uint8 RGB."""
        ...


def shot_images(images: AnomalyImages, category: str, shots: int, seed: int = 0) -> list[np.ndarray]:
    """Samples ``shots`` distinct normal training images of a category.

    The sample depends only on the category, ``shots`` and the seed, and a larger sample starts with the smaller ones.

    Raises:
        ValueError: the category has fewer images.
    """
    have = images.num_normal(category)
    if not 1 <= shots <= have:
        raise ValueError(
            f"shots={shots} normal images of {category!r} are requested, but the data set has {have}: "
            f"{'request at most that many' if have else 'without normal training images, use a zero-shot method'}"
        )
    order = np.random.default_rng((seed, *category.encode())).permutation(have)
    return [images.normal_image(category, int(index)) for index in order[:shots]]
