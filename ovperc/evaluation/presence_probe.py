"""Asking an image for classes that it does not hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ovperc.core.structures import TextBank
from ovperc.evaluation.metrics.presence import choose_absent, restrict_bank

if TYPE_CHECKING:
    from mmseg.structures import SegDataSample

    from ovperc.tasks.segmentation.segmenter import DenseSegmenter, ImageEmbeddings


@dataclass(frozen=True)
class AskedPresence:
    """The answer to a question with absent classes in it.

    Attributes:
        labels: ``(H, W)`` integers, index into the asked classes.
        confidence: ``(H, W)`` float32 in ``[0, 1]``.
        is_present: asked class -> whether the image holds it; ``None`` for the background.
    """

    labels: Tensor
    confidence: Tensor
    is_present: tuple[bool | None, ...]


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
        self, segmenter: DenseSegmenter, encoded: ImageEmbeddings, bank: TextBank, sample: SegDataSample
    ) -> AskedPresence:
        """Segments the encoded image once more, with these classes only."""
        first = int(bank.background.enabled)
        found = np.unique(sample.gt_sem_seg.data.cpu().numpy()).tolist()
        present = [label for label in found if label != self.ignore_index and label >= first]
        absent = choose_absent(present, range(first, bank.num_classes), self.count, f"{self.key}/{sample.img_path}")
        asked = [*range(first), *sorted({*present, *absent})]
        answer = segmenter.segment(encoded, restrict_bank(bank, asked))
        states = tuple(None if label < first else label in present for label in asked)
        return AskedPresence(answer.labels, answer.confidence, states)
