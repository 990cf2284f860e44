"""Segmentation with absent classes in the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ovperc.core.structures import TextBank
from ovperc.data.segmentation.dataset import LabelledImage
from ovperc.evaluation.metrics.presence import PresenceMeter, choose_absent, restrict_bank

if TYPE_CHECKING:
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter, ImageEmbeddings


@dataclass(frozen=True)
class PresenceProbe:
    """Segments an image with its ground-truth classes and ``count`` absent ones.

    Attributes:
        count: absent classes per image.
        key: name of the test set; together with the image's name it determines the absent classes.
        ignore_index: label of ignored pixels.
    """

    count: int
    key: str
    ignore_index: int = 255

    def __call__(
        self, segmenter: DenseSegmenter, encoded: ImageEmbeddings, bank: TextBank, sample: LabelledImage
    ) -> dict[str, np.ndarray]:
        """Segments the encoded image with these classes; returns counts for ``PresenceMeter.add``."""
        first = int(bank.background.enabled)
        found = np.unique(sample.labels).tolist()
        present = [label for label in found if label != self.ignore_index and label >= first]
        absent = choose_absent(present, range(first, bank.num_classes), self.count, f"{self.key}/{sample.name}")
        asked = [*range(first), *sorted({*present, *absent})]
        answer = segmenter.segment(encoded, restrict_bank(bank, asked))
        states = tuple(None if label < first else label in present for label in asked)
        counted = torch.from_numpy(sample.labels != self.ignore_index)
        return PresenceMeter.count(answer.labels, answer.confidence, counted, states)
