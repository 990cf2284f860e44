"""What every anomaly set offers, whether its images are files or drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

GOOD = "good"


@dataclass(frozen=True)
class AnomalyRecord:
    """One test image, not read yet.

    Attributes:
        name: unique in its set, such as ``"bottle/broken_large/003"``.
        category: product.
        kind: of defect; ``"good"`` for a normal image.
        anomalous: whether the image shows a defect.
    """

    name: str
    category: str
    kind: str
    anomalous: bool


@dataclass(frozen=True)
class AnomalySample:
    """One image with its truth.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        mask: ``(H, W)`` bool, True on defects; all False for a normal image; None where the set has no masks.
        record: whose image it is.
    """

    image: np.ndarray
    mask: np.ndarray | None
    record: AnomalyRecord


@runtime_checkable
class AnomalyImages(Protocol):
    """A test set of several categories, each with normal images to learn from where the set has them.

    Attributes:
        categories: in order.
        words: category -> its name in words, as a method is told it (``"metal nut"``).
        records: the test images; image ``i`` is ``self[i]``.
    """

    categories: tuple[str, ...]
    words: Mapping[str, str]
    records: Sequence[AnomalyRecord]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> AnomalySample: ...

    def num_normal(self, category: str) -> int:
        """How many normal training images a category has."""
        ...

    def normal_image(self, category: str, index: int) -> np.ndarray:
        """A normal training image, ``(H, W, 3)`` uint8 RGB."""
        ...


def shot_images(images: AnomalyImages, category: str, shots: int, seed: int = 0) -> list[np.ndarray]:
    """Draws ``shots`` different normal training images of a category.

    The draw depends on the category, the number and the seed only, and the first images of a larger draw are those
    of a smaller one, so that more shots add to what fewer showed.

    Raises:
        ValueError: the category has not that many.
    """
    have = images.num_normal(category)
    if not 1 <= shots <= have:
        raise ValueError(
            f"shots={shots} normal images of {category!r} are asked for; the set has {have}: "
            f"{'choose at most that many' if have else 'it has no normal training images, use a zero-shot method'}"
        )
    order = np.random.default_rng((seed, *category.encode())).permutation(have)
    return [images.normal_image(category, int(index)) for index in order[:shots]]
