"""Accuracy of naming regions whose place is given, for any method with dense embeddings."""

from __future__ import annotations

from ovperc.core.summary import RunSummary
from ovperc.data.benchmark import Benchmark
from ovperc.evaluation.detection import region_figures, region_hits
from ovperc.evaluation.request import EvaluationRequest
from ovperc.evaluation.scoring_run import start_run


def evaluate_regions(request: EvaluationRequest, row: Benchmark) -> RunSummary:
    """Names annotated boxes and masks by the mean of a method's embeddings inside them.

    Args:
        request: as for :func:`ovperc.evaluation.detection.evaluate_detection`; the method may be one of segmentation.
        row: the benchmark.

    Returns:
        The summary. ``metrics``: ``mAcc1.box``, ``mAcc1.mask`` and top 5, means over classes in percent, also by group
        (``thing``, ``stuff``, ``base``, ``novel``).

    Raises:
        ValueError: the method has no dense embeddings to read regions from.
    """
    request.refuse_segmentation_settings()
    if request.save_predictions:
        raise ValueError("regions have no predictions to save: their places are given")
    run = start_run(request, row)
    words = list(run.images.classes)
    if not hasattr(run.predictor, "classify_regions"):
        raise ValueError(f"method {run.predictor.info.method!r} does not name regions; use one of segmentation")
    indices = run.score(lambda sample: {"regions": region_hits(run.predictor, sample, words)}, request.limit)
    figures = region_figures(run.store.rows(indices), run.images)
    tags = {
        "regions": "annotated places, tiny ones left out; mean of dense embeddings inside box or mask",
        "figure": "top-1 and top-5 accuracy, mean over classes that occur",
        "vocabulary": f"{len(words)} names asked together",
        "CLIP weights": run.predictor.info.weights,
    }
    return run.finish(indices, figures, tags, {}, request.summary_file)
