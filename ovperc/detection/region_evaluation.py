"""Accuracy of naming regions whose place is given, for any method with dense embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ovperc.data.benchmarks import Benchmark
from ovperc.detection.evaluation import (
    refuse_segmentation_settings,
    region_figures,
    region_hits,
    start_run,
)
from ovperc.engine.summary import RunSummary
from ovperc.engine.test_run import TestOptions


def evaluate_regions(
    method: str | Path,
    row: Benchmark,
    *,
    weights: str | Path | None = None,
    arch: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    overrides: Sequence[str] | Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    allow_partial: bool = False,
    threshold: float | None = None,
    limit: int | None = None,
    panels: int = 0,
    save_predictions: str | Path | bool = False,
    options: TestOptions = TestOptions(),  # noqa: B008 (frozen)
    work_dir: str | Path | None = None,
    summary_file: str | Path | None = None,
) -> RunSummary:
    """Names annotated boxes and masks by the mean of a method's embeddings inside them.

    Arguments as for :func:`ovperc.detection.evaluation.evaluate_detection`; the method may be one of segmentation.

    Returns:
        The summary. ``metrics``: ``mAcc1.box``, ``mAcc1.mask`` and top 5, means over classes in percent, also by group
        (``thing``, ``stuff``, ``base``, ``novel``).

    Raises:
        ValueError: the method has no dense embeddings to read regions from.
    """
    refuse_segmentation_settings(threshold, panels, options)
    if save_predictions:
        raise ValueError("regions have no predictions to save: their places are given")
    run = start_run(method, row, weights, arch, device, dtype, overrides, data_root, allow_partial, options, work_dir)
    words = list(run.images.classes)
    if not hasattr(run.predictor, "classify_regions"):
        raise ValueError(f"method {run.predictor.info.method!r} does not name regions; use one of segmentation")
    indices = run.score(lambda sample: {"regions": region_hits(run.predictor, sample, words)}, limit)
    figures = region_figures(run.store.rows(indices), run.images)
    tags = {
        "regions": "annotated places, tiny ones left out; mean of dense embeddings inside box or mask",
        "figure": "top-1 and top-5 accuracy, mean over classes that occur",
        "vocabulary": f"{len(words)} names asked together",
        "CLIP weights": run.predictor.info.weights,
    }
    return run.finish(indices, figures, tags, {}, summary_file)
