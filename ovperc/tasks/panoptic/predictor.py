"""The predictor of panoptic segmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovperc.core.structures import TextBank
from ovperc.tasks.panoptic.prediction import PanopticPrediction
from ovperc.tasks.panoptic.segmenter import PanopticEmbeddings, PanopticSegmenter
from ovperc.tasks.predictor import PredictorInfo
from ovperc.tasks.vocabulary_predictor import VocabularyPredictor
from ovperc.text.encoder import TextEncoder
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words

if TYPE_CHECKING:
    from ovperc.tasks.methods import ResolvedMethod


@dataclass(frozen=True)
class PanopticQuery:
    """An embedded vocabulary of things and stuff.

    Attributes:
        bank: of all classes.
        stuff: labels of the stuff classes.
    """

    bank: TextBank
    stuff: frozenset[int]


class PanopticPredictor(VocabularyPredictor):
    """Divides images into instances of things and areas of stuff.

    ``predict``, ``predict_each`` and ``predict_encoded`` take ``stuff`` and ``background`` as :meth:`query` does.

    Args:
        segmenter: the method on its towers.
        text_encoder: makes text banks with the text tower of the same weights.
        info: what predictions say they were made with.
        background: policy for vocabularies that bring none of their own; background is void.
        resolved: the method's settings and where each comes from.
    """

    def __init__(
        self,
        segmenter: PanopticSegmenter,
        text_encoder: TextEncoder,
        info: PredictorInfo,
        background: BackgroundLike = None,
        resolved: ResolvedMethod | None = None,
    ) -> None:
        super().__init__(text_encoder, info, background, resolved)
        self.segmenter = segmenter

    def query(
        self,
        words: Words | PanopticQuery,
        background: BackgroundLike = None,
        stuff: Words | None = None,
    ) -> PanopticQuery:
        """The embedded vocabulary; a query passes through.

        Args:
            words: classes of things, in any form that segmentation takes.
            background: None, a threshold, words of an explicit background, or both; background is void.
            stuff: classes without instances, such as ``"grass, sky"``. Those that are among ``words`` are stuff there;
                the others are added.

        Raises:
            ValueError: words that do not fit, or a background policy of ``stuff``.
        """
        if isinstance(words, PanopticQuery):
            return words
        vocabulary = self.vocabulary(words, background)
        if stuff is None:
            return PanopticQuery(self.bank(vocabulary), frozenset())
        named = Vocabulary.parse(stuff)
        if named.background.enabled:
            raise ValueError("a background policy belongs to words, not to stuff")
        known = {entry.name.casefold() for entry in vocabulary.classes}
        added = tuple(entry for entry in named.classes if entry.name.casefold() not in known)
        bank = self.bank(dataclasses.replace(vocabulary, classes=vocabulary.classes + added))
        wanted = {entry.name.casefold() for entry in named.classes}
        return PanopticQuery(
            bank, frozenset(label for label, name in enumerate(bank.names) if name.casefold() in wanted)
        )

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[PanopticEmbeddings]:
        """Dense embeddings and masks of each image: all that no word changes."""
        return self.segmenter.encode_batch(images)

    def answer(
        self, encoded: PanopticEmbeddings, query: PanopticQuery, source: str | None = None
    ) -> PanopticPrediction:
        """Instances and stuff at the size of the image; no pass through an image tower."""
        bank = query.bank
        first = int(bank.background.enabled)
        found = self.segmenter.segment(encoded, bank, query.stuff)
        return PanopticPrediction(
            ids=found.ids,
            segments=found.segments,
            names=bank.names,
            things=tuple(label for label in range(first, bank.num_classes) if label not in query.stuff),
            source=source,
            method=self.info.method,
            metadata=self.metadata(background=asdict(bank.background)),
        )
