"""Exported segmentation: pixels and a vocabulary to labels. No torch."""

from __future__ import annotations

import numpy as np

from ovperc.core.text_bank import TextBank
from ovperc.runtime.text_model import ExportedTextModel, QueryVocabulary
from ovperc.tasks.segmentation.prediction import SegPrediction


class ExportedSegmenter(ExportedTextModel[SegPrediction]):
    """An exported segmentation method, with the interface of :class:`ovperc.Predictor` for one image at a time."""

    task = "segmentation"

    def _answer(self, pixels: np.ndarray, query: QueryVocabulary, source: str | None) -> SegPrediction:
        policy = query.background
        feed = {
            "image": pixels[None],
            "logit_scale": np.asarray(self.manifest.logit_scale, np.float32),
            "background_threshold": np.asarray(policy.threshold, np.float32),
            "background_named": np.asarray(bool(policy.words)),
        }
        if isinstance(query, TextBank):
            feed |= {"text": query.embeddings, "owners": query.owners}
        labels, confidence = self._session.run(["labels", "confidence"], feed)
        if not np.isfinite(confidence).all():
            raise FloatingPointError("the model returned values that are not finite; use an fp32 export")
        return SegPrediction(labels[0], confidence[0], query.names, source, self.manifest.method, self.metadata)
