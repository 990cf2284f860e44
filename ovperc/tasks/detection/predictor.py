"""The predictor of detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from ovperc.core.structures import TextBank
from ovperc.tasks.detection.encoded import RegionEmbeddings
from ovperc.tasks.detection.phrases import composed_bank
from ovperc.tasks.detection.prediction import DetPrediction
from ovperc.tasks.detection.region_detector import RegionDetector
from ovperc.tasks.predictor import PredictorInfo
from ovperc.tasks.vocabulary_predictor import VocabularyPredictor
from ovperc.text.encoder import TextEncoder
from ovperc.text.vocabulary import BackgroundLike, Vocabulary

if TYPE_CHECKING:
    from ovperc.tasks.methods import ResolvedMethod


class DetPredictor(VocabularyPredictor):
    """Finds objects with a vocabulary; it can be another one at every call.

    Args:
        detector: the method on a tower.
        text_encoder: makes text banks with the text tower of the same weights.
        info: what predictions say they were made with.
        compose: phrases are the sum of their words.
        background: policy for vocabularies that bring none of their own: None, a least score, words of what is no
            object, or both.
        resolved: the method's settings and where each comes from.
    """

    def __init__(
        self,
        detector: RegionDetector,
        text_encoder: TextEncoder,
        info: PredictorInfo,
        compose: bool = False,
        background: BackgroundLike = None,
        resolved: ResolvedMethod | None = None,
    ) -> None:
        super().__init__(text_encoder, info, background, resolved)
        self.detector = detector
        self.compose = compose

    @property
    def base_words(self) -> frozenset[str]:
        """Words that training knew, in lower case; none for a training-free detector."""
        trained = self.detector.trained
        return frozenset() if trained is None else trained.base_words

    def embed(self, vocabulary: Vocabulary) -> TextBank:
        """A new bank, with phrases as the sum of their words where the heads were trained so."""
        return composed_bank(self.text_encoder, vocabulary) if self.compose else super().embed(vocabulary)

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[RegionEmbeddings]:
        """Boxes, embeddings and masks of each image: all that no word changes."""
        return [self.detector.encode(image) for image in images]

    def answer(self, encoded: RegionEmbeddings, query: TextBank, source: str | None = None) -> DetPrediction:
        """One matrix product, suppression, and the masks of what is left."""
        names = query.names[int(query.background.enabled) :]
        found = self.detector.detect(encoded, query, [name.casefold() in self.base_words for name in names])
        masks = None if encoded.masks is None else encoded.masks.codes(found.rows.tolist())
        return DetPrediction(
            boxes=encoded.boxes[found.rows].cpu().numpy(),
            scores=found.scores.cpu().numpy(),
            labels=found.labels.cpu().numpy(),
            names=names,
            size_hw=encoded.size_hw,
            masks=masks,
            source=source,
            method=self.info.method,
            metadata=self.metadata(background=asdict(query.background)),
        )
