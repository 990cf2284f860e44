"""Exported detection: pixels and a vocabulary to boxes. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovperc.core.text_bank import TextBank
from ovperc.runtime.base import read_inputs
from ovperc.runtime.manifest import INPUTS_NAME, FolderError, Manifest
from ovperc.runtime.region_scores import FusionSettings, RegionClassifier, region_scores, suppress
from ovperc.runtime.sessions import SessionOptions
from ovperc.runtime.text_model import ExportedTextModel, QueryVocabulary
from ovperc.tasks.detection.prediction import DetPrediction
from ovperc.text.phrase_parts import phrase_parts

_OUTPUTS = ("boxes", "objectness", "text", "vlm")


@dataclass(frozen=True)
class DetectionSettings:
    """What follows the regions of a detector.

    Attributes:
        fusion: of the two embeddings' scores.
        classifier: of the detector's own embeddings.
        base_words: classes of the training, in lower case.
        compose: phrases are the sum of their words.
        nms_iou: overlap above which a box of the same class is suppressed.
        max_detections: of an image.
        min_score: only higher scores are detections.
        min_side_px: thinner boxes are dropped.

    Raises:
        ValueError: a value that is out of its range.
    """

    fusion: FusionSettings
    classifier: RegionClassifier
    base_words: frozenset[str]
    compose: bool
    nms_iou: float
    max_detections: int
    min_score: float
    min_side_px: float

    def __post_init__(self) -> None:
        for name in ("nms_iou", "min_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]; got {getattr(self, name)}")
        if self.max_detections < 1 or not 0 <= self.min_side_px < math.inf:
            raise ValueError(
                f"max_detections must be at least 1 and min_side_px not negative; got {self.max_detections} and "
                f"{self.min_side_px}"
            )

    @classmethod
    def read(cls, settings: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> DetectionSettings:
        """The settings of a manifest, with the background embedding of ``inputs`` where there is one."""
        fields = dict(settings)
        fields["fusion"] = FusionSettings(**fields["fusion"])
        fields["classifier"] = RegionClassifier(**fields["classifier"], background=inputs.get("background"))
        fields["base_words"] = frozenset(fields["base_words"])
        return cls(**fields)


class ExportedDetector(ExportedTextModel[DetPrediction]):
    """An exported detector, with the interface of its predictor for one image at a time; no masks.

    Args:
        folder: of the files.
        manifest: of the folder.
        options: how the files are opened.
    """

    task = "detection"

    def __init__(self, folder: Path, manifest: Manifest, options: SessionOptions) -> None:
        super().__init__(folder, manifest, options)
        try:
            self.settings = DetectionSettings.read(manifest.settings, read_inputs(folder))
        except FolderError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise FolderError(f"the manifest of {str(folder)!r} is corrupt: {error}; export again") from error

    @classmethod
    def required_files(cls, manifest: Manifest) -> tuple[str, ...]:
        """The embedding of the background too."""
        return (*super().required_files(manifest), INPUTS_NAME)

    @property
    def names(self) -> tuple[str, ...]:
        """Label -> name of the default vocabulary, background left out."""
        return _object_names(self.query())

    def _answer(self, pixels: np.ndarray, query: QueryVocabulary, source: str | None) -> DetPrediction:
        if not isinstance(query, TextBank):
            raise FolderError("a detector has no fixed vocabulary; export again")
        settings, names = self.settings, _object_names(query)
        regions = dict(zip(_OUTPUTS, self._session.run(_OUTPUTS, {"image": pixels[None]}), strict=True))
        wide = (regions["boxes"][:, 2:] - regions["boxes"][:, :2]).min(axis=1) >= settings.min_side_px
        regions = {name: value[wide] for name, value in regions.items()}
        is_base = [name.casefold() in settings.base_words for name in names]
        scores = region_scores(regions, query, is_base, settings.fusion, settings.classifier)
        least = max(settings.min_score, query.background.threshold)
        rows, labels = suppress(regions["boxes"], scores, settings.nms_iou, settings.max_detections, least)
        return DetPrediction(
            boxes=regions["boxes"][rows],
            scores=scores[rows, labels],
            labels=labels,
            names=names,
            size_hw=(pixels.shape[0], pixels.shape[1]),
            source=source,
            method=self.manifest.method,
            metadata=self.metadata,
        )

    def _embed(self, prompts: Sequence[str]) -> np.ndarray:
        """Phrases as the normalised sum of their words, where the detector was trained so."""
        if not self.settings.compose:
            return super()._embed(prompts)
        parts = [phrase_parts(prompt) for prompt in prompts]
        words = list(dict.fromkeys(part for row in parts for part in row))
        rows = dict(zip(words, super()._embed(words), strict=True))
        sums = np.stack([np.sum([rows[part] for part in row], axis=0) for row in parts])
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def _object_names(query: QueryVocabulary) -> tuple[str, ...]:
    return query.names[int(query.background.enabled) :]
