"""One image with its segments, and the contract of a set of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ovperc.core.panoptic import PanopticMap

THING, STUFF = "thing", "stuff"
"""Groups that every set has."""


@dataclass(frozen=True)
class PanopticSample:
    """An image and its annotated segments.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        panoptic: its segments, crowds among them; void pixels are not evaluated.
        image_id: of the annotation file.
        name: unique in its set.

    Raises:
        ValueError: image and annotation differ in size.
    """

    image: np.ndarray
    panoptic: PanopticMap
    image_id: int
    name: str

    def __post_init__(self) -> None:
        if self.panoptic.size_hw != self.image.shape[:2]:
            raise ValueError(
                f"{self.name}: the image has {self.image.shape[:2]} px, its annotation {self.panoptic.size_hw}"
            )


class PanopticImages(Protocol):
    """A set of images with segments.

    Attributes:
        classes: label -> words.
        category_ids: label -> category id of the annotation file.
        groups: name of a subset -> its labels, to be scored apart; ``thing`` and ``stuff`` are among them.
    """

    classes: Sequence[str]
    category_ids: Sequence[int]
    groups: Mapping[str, Sequence[int]]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> PanopticSample: ...
