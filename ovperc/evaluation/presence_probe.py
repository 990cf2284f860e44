"""Asking an image for classes that it does not hold."""

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
    """Asks an image for the classes of its truth and for ``count`` others.

    Attributes:
        count: absent classes per image.
        key: names the test set; with the image's name it decides which classes are asked.
        ignore_index: true label of pixels that do not count.
    """

    count: int
    key: str
    ignore_index: int = 255

    def __call__(
        self, segmenter: DenseSegmenter, encoded: ImageEmbeddings, bank: TextBank, sample: LabelledImage
    ) -> dict[str, np.ndarray]:
        """Segments the encoded image once more, with these classes only; counts for ``PresenceMeter.add``."""
        first = int(bank.background.enabled)
        found = np.unique(sample.labels).tolist()
        present = [label for label in found if label != self.ignore_index and label >= first]
        absent = choose_absent(present, range(first, bank.num_classes), self.count, f"{self.key}/{sample.name}")
        asked = [*range(first), *sorted({*present, *absent})]
        answer = segmenter.segment(encoded, restrict_bank(bank, asked))
        states = tuple(None if label < first else label in present for label in asked)
        counted = torch.from_numpy(sample.labels != self.ignore_index)
        return PresenceMeter.count(answer.labels, answer.confidence, counted, states)
