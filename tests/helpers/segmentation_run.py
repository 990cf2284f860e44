"""A segmenter without a predictor, run through an evaluation as a method is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovperc.core.structures import TextBank
from ovperc.data.segmentation.benchmark import SegmentationBenchmark
from ovperc.evaluation.metrics.segmentation_counts import SegmentationCounts
from ovperc.evaluation.request import EvalOptions
from ovperc.evaluation.run import join_processes, score_images
from ovperc.evaluation.segmentation import SegmentationEvaluation
from ovperc.evaluation.store import PartStore

SMALL = SegmentationBenchmark("small", "three classes", list)


@dataclass(frozen=True)
class SegmentationRun:
    """What a run found.

    Attributes:
        scores: figures, and those by class.
        counts: behind them.
        present: images with stored results.
        resumed: images that were stored before.
        finished: whether all images are.
        store: of the run.
    """

    scores: Mapping[str, float]
    counts: SegmentationCounts
    present: list[int]
    resumed: int
    finished: bool
    store: PartStore


def score_segmenter(
    segmenter: Any,
    bank: TextBank,
    images: Any,
    work_dir: Path,
    row: SegmentationBenchmark = SMALL,
    *,
    presence: int = 0,
    keep_worst: int = 0,
    predictions: Path | None = None,
    **options: Any,
) -> SegmentationRun:
    """Runs a segmenter over images; goes on where an earlier run in the folder stopped."""
    settings = EvalOptions(**options)
    join_processes(settings.launcher)
    evaluation = SegmentationEvaluation(
        segmenter, bank, images, row, presence=presence, keep_worst=keep_worst, predictions=predictions
    )
    store = PartStore(Path(work_dir) / "progress", settings.save_every_s)
    resumed = len(store)
    present = score_images(evaluation, store, range(len(images)), settings)
    scores = evaluation.summarise(store, present)
    figures = {**scores.metrics, **scores.details["per_class"]}
    return SegmentationRun(figures, scores.counts, present, resumed, len(present) == len(images), store)
