"""Evaluation of segmentation methods, from counts summed over images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovperc.core.atomic import atomic_write
from ovperc.core.structures import TextBank
from ovperc.core.summary import RunSummary, plain
from ovperc.data.annotations import encode_annotation
from ovperc.data.segmentation.benchmark import SegmentationBenchmark
from ovperc.data.segmentation.dataset import LabelledImage, LabelledImages, check_sample
from ovperc.evaluation.gallery import write_report
from ovperc.evaluation.metrics import SEGMENTATION_METRICS, SEGMENTATION_TITLES, ConfusionMatrix, LabelMapMetric
from ovperc.evaluation.metrics.miou import iou_of_counts
from ovperc.evaluation.metrics.presence import PresenceMeter
from ovperc.evaluation.metrics.segmentation_counts import SegmentationCounts
from ovperc.evaluation.presence_probe import PresenceProbe
from ovperc.evaluation.request import EvaluationRequest
from ovperc.evaluation.store import PartStore, StoredResult
from ovperc.evaluation.task_evaluation import EvaluationInputs, EvaluationScores, Scorer, TaskEvaluation

if TYPE_CHECKING:
    from ovperc.tasks.predictor import PredictorInfo
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter


@dataclass(frozen=True)
class SegmentationEvaluation(TaskEvaluation):
    """A segmentation method on a benchmark.

    Attributes:
        segmenter: the method's segmenter.
        bank: text bank with the benchmark's labels.
        images: all images.
        row: the benchmark.
        info: predictor info; None for segmenters without a predictor.
        presence: number of absent classes per image for the presence metrics; 0 to skip them.
        keep_worst: number of worst images in the report.
        predictions: folder for label maps, ``NAME.png``; None to discard them.
        words: vocabulary of the bank, for the summary.

    Raises:
        ValueError: the bank's names differ from the benchmark's classes, or there are no images.
    """

    titles = SEGMENTATION_TITLES
    headline = "mIoU"

    segmenter: DenseSegmenter
    bank: TextBank
    images: LabelledImages
    row: SegmentationBenchmark
    info: PredictorInfo | None = None
    presence: int = 0
    keep_worst: int = 0
    predictions: Path | None = None
    words: Any = None

    def __post_init__(self) -> None:
        classes = tuple(self.images.classes)
        if tuple(self.bank.names) != classes:
            raise ValueError(
                f"the words {self.bank.names[:3]}... are not the classes of {self.row.name}: {classes[:3]}..."
            )
        if not len(self.images):
            raise ValueError("the test set is empty; it needs at least one labelled image")

    @classmethod
    def method_overrides(cls, row: SegmentationBenchmark, method: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The method's published settings on the benchmark, overridden by the user's."""
        return {**row.settings_of(method).overrides(), **overrides}

    @classmethod
    def check(cls, request: EvaluationRequest) -> None:
        """Accepts all settings."""

    @classmethod
    def of(cls, inputs: EvaluationInputs) -> SegmentationEvaluation:
        """A method with its published prompts."""
        request, row = inputs.request, inputs.row
        vocabulary = row.vocabulary(inputs.images, request.method_name, request.threshold)
        return cls(
            inputs.predictor.segmenter,
            inputs.predictor.bank(vocabulary),
            inputs.images,
            row,
            inputs.predictor.info,
            request.options.presence,
            request.panels,
            inputs.predictions,
            vocabulary,
        )

    @property
    def decisive(self) -> dict[str, Any]:
        """Vocabulary and options that determine results; runs with and without saved predictions are separate."""
        return {
            "words": plain(self.words),
            "absent": self.row.absent,
            "presence": self.presence,
            "predictions": None if self.predictions is None else str(self.predictions),
        }

    def _metrics(self) -> tuple[LabelMapMetric, ...]:
        row = self.row
        return tuple(kind.of(len(self.bank.names), row.ignore_index, row.absent) for kind in SEGMENTATION_METRICS)

    def scorer_of(self, group: int) -> Scorer:
        """Counts each image separately, at its own size."""
        return self._score

    def _score(self, samples: Sequence[LabelledImage]) -> Iterator[StoredResult]:
        metrics = self._metrics()
        for sample in samples:
            check_sample(sample)
            encoded = self.segmenter.encode(sample.image)
            predicted = self.segmenter.segment(encoded, self.bank).labels.cpu().numpy()
            arrays = {metric.name: metric.count(predicted, sample.labels) for metric in metrics}
            if self.presence:
                probe = PresenceProbe(self.presence, self.row.name, self.row.ignore_index)
                arrays |= probe(self.segmenter, encoded, self.bank, sample)
            if self.predictions is not None:
                save_prediction(self.predictions, sample.name, predicted, len(self.bank.names))
            yield StoredResult(arrays)

    def count(self, store: PartStore, indices: Sequence[int]) -> SegmentationCounts:
        """Sums of stored counts."""
        metrics, presence = self._metrics(), PresenceMeter()
        scores: list[tuple[float, int]] = []
        for index, result in zip(indices, store.results(indices), strict=True):
            for metric in metrics:
                metric.add(result.arrays[metric.name])
            if self.presence:
                presence.add(result.arrays)
            if self.keep_worst:
                alone = ConfusionMatrix(len(self.bank.names), self.row.ignore_index)
                alone.add(result.arrays[alone.name])
                scores.append((100.0 * float(iou_of_counts(alone.counts).nanmean()), index))
        worst = sorted(entry for entry in scores if np.isfinite(entry[0]))[: self.keep_worst]
        return SegmentationCounts(metrics, presence, tuple(worst))

    def summarise(self, store: PartStore, indices: Sequence[int]) -> EvaluationScores:
        """All metrics, per class in ``details``."""
        counts = self.count(store, indices)
        return EvaluationScores(
            counts.figures(getattr(self.images, "groups", {})),
            {"per_class": counts.by_class(self.bank.names)},
            {
                "threshold": self.bank.background.threshold,
                "absent": self.row.absent,
                "presence": self.presence,
            },
            counts,
        )

    def write_reports(
        self, work_dir: Path, summary: RunSummary, scores: EvaluationScores, store: PartStore, indices: Sequence[int]
    ) -> None:
        """Writes ``report.html`` with panels of the worst images, which are segmented again."""
        if self.keep_worst and summary.settings["images"]:
            write_report(work_dir, summary, self._label_map, self.images, self.row, self.bank, scores.counts)

    def _label_map(self, image: np.ndarray) -> np.ndarray:
        return self.segmenter.segment(self.segmenter.encode(image), self.bank).labels.cpu().numpy()


def save_prediction(folder: Path, name: str, labels: np.ndarray, num_classes: int) -> None:
    """Saves a label map ``(H, W)`` as ``folder/name.png``, 8-bit up to 256 labels, else 16-bit."""
    narrow = labels.astype(np.uint8 if num_classes <= 256 else np.uint16)
    with atomic_write(folder / f"{name}.png") as (temporary,):
        temporary.write_bytes(encode_annotation(narrow, ".png"))
