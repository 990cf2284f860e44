"""The predictor of segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ovperc.core.structures import TextBank
from ovperc.tasks.predictor import PredictorInfo
from ovperc.tasks.segmentation.prediction import SegPrediction
from ovperc.tasks.segmentation.regions import RegionLabels, classify_regions
from ovperc.tasks.segmentation.segmenter import DenseSegmenter, ImageEmbeddings
from ovperc.tasks.vocabulary_predictor import VocabularyPredictor
from ovperc.text.encoder import TextEncoder
from ovperc.text.vocabulary import BackgroundLike, Words

if TYPE_CHECKING:
    from ovperc.tasks.methods import ResolvedMethod


class SegPredictor(VocabularyPredictor):
    """Segments images with a vocabulary.

    Args:
        segmenter: the method on an image tower.
        text_encoder: makes text banks with the text tower of the same weights.
        info: what predictions say they were made with.
        background: policy for vocabularies that bring none of their own: None, a confidence threshold, words of an
            explicit background, or both.
        resolved: the method's settings and where each comes from.
    """

    def __init__(
        self,
        segmenter: DenseSegmenter,
        text_encoder: TextEncoder,
        info: PredictorInfo,
        background: BackgroundLike = None,
        resolved: ResolvedMethod | None = None,
    ) -> None:
        super().__init__(text_encoder, info, background, resolved)
        self.segmenter = segmenter

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[ImageEmbeddings]:
        """Patch embeddings of each image; see :meth:`DenseSegmenter.encode_batch`."""
        return self.segmenter.encode_batch(images)

    def answer(self, encoded: ImageEmbeddings, query: TextBank, source: str | None = None) -> SegPrediction:
        """Labels and confidence at the size of the image; one matrix product, no pass through the image tower."""
        found = self.segmenter.segment(encoded, query)
        geometry = encoded.stitcher.geometry
        sizes = {"resized_hw": geometry.resized_hw, "tile_hw": geometry.crop_hw, "tiles": geometry.num_tiles}
        return SegPrediction(
            labels=found.labels.cpu().numpy(),
            confidence=found.confidence.cpu().numpy(),
            names=query.names,
            source=source,
            method=self.info.method,
            metadata=self.metadata(**sizes, background=asdict(query.background), **found.notes),
        )

    def classify_regions(
        self, image: Any, regions: Any, words: Words, background: BackgroundLike = None
    ) -> RegionLabels:
        """Names given regions, by the mean of the image's dense features inside each.

        Args:
            image: one image as for :meth:`predict`, or an encoded one.
            regions: boxes ``(R, 4)`` ``x0, y0, x1, y1`` in pixels of the image, or masks ``(R, H, W)`` bool.
            words: as for :meth:`predict`.
            background: as for :meth:`predict`.

        Raises:
            ValueError: a region that is not finite, or holds no pixel of the image.
        """
        encoded = image if isinstance(image, ImageEmbeddings) else self.encode(image)
        return classify_regions(self.segmenter, encoded, regions, self.bank(words, background))

    def scores(self, image: Any, words: Words, background: BackgroundLike = None, *, raw: bool = False) -> Tensor:
        """Dense class scores: as large as it says, made only on request.

        Args:
            image: one image as for :meth:`predict`, or an encoded one.
            words: as for :meth:`predict`.
            background: as for :meth:`predict`.
            raw: True for cosines, False for softmax probabilities over all prompts.

        Returns:
            ``(C, H, W)`` float32 in label order, background included, at the size of the image.
        """
        encoded = image if isinstance(image, ImageEmbeddings) else self.encode(image)
        return self.segmenter.scores(encoded, self.bank(words, background), raw=raw)
