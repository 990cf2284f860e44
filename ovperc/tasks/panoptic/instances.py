"""Class-agnostic masks as instances of the classes they are named by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovperc.io.coco import decode_rle

Rle = Mapping[str, Any]


@dataclass(frozen=True)
class Instance:
    """A mask with a name.

    Attributes:
        rle: COCO run-length code of the mask, of the image's size.
        label: of a thing class.
        score: in 0..1.
    """

    rle: Rle
    label: int
    score: float

    def mask(self) -> np.ndarray:
        """``(H, W)`` bool."""
        return decode_rle(self.rle)


def name_instances(
    masks: Sequence[Rle], quality: np.ndarray, probabilities: np.ndarray, is_thing: np.ndarray, threshold: float = 0.0
) -> tuple[Instance, ...]:
    """Masks as instances of their best class; masks of stuff and of the background are dropped.

    Args:
        masks: ``R`` COCO run-length codes.
        quality: ``(R,)`` in 0..1, of the masks whatever they show.
        probabilities: ``(R, C)``, of each class.
        is_thing: ``(C,)`` bool, label -> whether it is a thing class.
        threshold: masks whose best class is less probable are background.

    Returns:
        Instances in the order of the masks; the score is quality times probability.
    """
    labels = probabilities.argmax(axis=1)
    best = probabilities.max(axis=1, initial=0.0)
    kept = np.flatnonzero(is_thing[labels] & (best >= threshold)).tolist()
    return tuple(Instance(masks[row], int(labels[row]), float(quality[row] * best[row])) for row in kept)
