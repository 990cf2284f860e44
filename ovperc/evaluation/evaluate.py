"""Evaluation of a method on a benchmark, on mmengine's Runner."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import is_main_process

from ovperc.core.config_files import parse_overrides
from ovperc.core.summary import RunSummary, plain
from ovperc.data.benchmarks import BENCHMARKS, Benchmark, get_benchmark
from ovperc.data.segmentation.dataset import LabelledImages, SegmentationDataset
from ovperc.evaluation.eval_loop import EvalOptions, EvalOutcome, join_processes, run_eval_loop
from ovperc.evaluation.progress import settings_digest
from ovperc.evaluation.request import EvaluationRequest, command_line, split_overrides
from ovperc.tasks.methods import load_method, read_method
from ovperc.tasks.table import TASKS
from ovperc.training.compat import prepare_mmengine, tune_allocator

if TYPE_CHECKING:
    from ovperc.tasks.segmentation.predictor import SegPredictor


def evaluate(method: str | Path, benchmark: str, **settings: Any) -> RunSummary:
    """Scores a method on a benchmark of its task.

    A run that was killed goes on where it stopped when it is started again with the same arguments.

    Args:
        method: name or file of a method config.
        benchmark: name in ``ovperc.data.benchmarks``.
        **settings: the other fields of :class:`ovperc.evaluation.request.EvaluationRequest`.

    Raises:
        ValueError: the method is for another task than the benchmark.
    """
    row = get_benchmark(benchmark)
    request = EvaluationRequest(method, **settings)
    if row.evaluation == "regions":
        from ovperc.evaluation.regions import evaluate_regions

        return evaluate_regions(request, row)
    task = TASKS[read_method(method).task]
    if task.name != row.task:
        near = ", ".join(other.name for other in BENCHMARKS.values() if other.task == task.name)
        raise ValueError(
            f"method {str(method)!r} is for {task.name}, benchmark {row.name!r} for {row.task}; "
            f"choose one of {near or 'no benchmark yet'}"
        )
    return _adapter(task.name)(request, row)


def _adapter(task: str) -> Callable[[EvaluationRequest, Benchmark], RunSummary]:
    from ovperc.evaluation.anomaly import evaluate_anomaly
    from ovperc.evaluation.detection import evaluate_detection

    return {"segmentation": evaluate_segmentation, "anomaly": evaluate_anomaly, "detection": evaluate_detection}[task]


def evaluate_segmentation(request: EvaluationRequest, row: Benchmark) -> RunSummary:
    """Scores a training-free method of segmentation by its published protocol.

    Args:
        request: what to run.
        row: the benchmark.

    Returns:
        The summary. ``metrics``: ``mIoU``, ``mAcc``, ``aAcc``, ``fwIoU``, ``bIoU`` in percent, mIoU by each
        convention, by group, and the presence figures if asked for; scores by class in ``details``.
    """
    started = time.perf_counter()
    tune_allocator()
    prepare_mmengine()
    join_processes(request.options.launcher)
    user_options, data_options = split_overrides(parse_overrides(request.overrides))
    images = request.images(row, data_options)
    dataset = SegmentationDataset(images, request.limit)
    name = load_method(request.method).name
    method_options = {**row.settings_of(name).overrides(), **user_options}
    predictor = request.load(**method_options)
    vocabulary = row.vocabulary(images, name, request.threshold)
    work_dir = request.folder(name, row)
    predictions = request.saved_in(work_dir / "predictions")
    options = replace(request.options, predictions=predictions, keep_worst=request.panels)
    decisive = {
        **{key: value for key, value in asdict(predictor.info).items() if key not in ("device", "weights")},
        "benchmark": row.name,
        "data": {key: value for key, value in {**row.options, **data_options}.items() if key != "root"},
        "protocol": plain(asdict(load_method(request.method, method_options))),
        "words": plain(vocabulary),
        "absent": row.absent,
    }
    bank = predictor.bank(vocabulary)
    outcome = run_eval_loop(
        predictor.segmenter, bank, dataset, row, work_dir=work_dir, options=options, settings=decisive
    )
    settings = _settings(decisive, predictor, method_options, vocabulary.background.threshold, images, outcome, options)
    summary = _summary(outcome, settings, time.perf_counter() - started)
    if is_main_process():
        if request.panels and outcome.finished:
            _report(work_dir, summary, outcome, predictor, bank, dataset, row)
        summary.write_all(work_dir / "summary.json", request.summary_file)
        if outcome.finished:
            outcome.progress.clear()
    return summary


def _settings(
    decisive: Mapping[str, Any],
    predictor: SegPredictor,
    overrides: Mapping[str, Any],
    threshold: float,
    images: LabelledImages,
    outcome: EvalOutcome,
    options: EvalOptions,
) -> dict[str, Any]:
    """What a summary says was run."""
    done = int(outcome.state.done.sum())
    return {
        **asdict(predictor.info),
        "benchmark": decisive["benchmark"],
        "data": decisive["data"],
        "overrides": dict(overrides),
        "threshold": threshold,
        "absent": decisive["absent"],
        "images": done,
        "images_in_set": len(images),
        "complete": done == len(images) and getattr(images, "complete", True),
        "resumed": outcome.resumed,
        "shard": str(options.shard),
        "presence": options.presence,
        "launcher": options.launcher,
        "num_workers": options.num_workers,
        "config": settings_digest(decisive),
    }


def _summary(outcome: EvalOutcome, settings: Mapping[str, Any], seconds: float) -> RunSummary:
    per_class = {name: value for name, value in outcome.scores.items() if name.startswith(("IoU.", "Acc.", "bIoU."))}
    metrics = {name: value for name, value in outcome.scores.items() if name not in per_class}
    return RunSummary(
        kind="test",
        metrics=metrics,
        settings=settings,
        seconds=seconds,
        details={"per_class": per_class},
        command=command_line(sys.argv),
    )


def _report(
    work_dir: Path,
    summary: RunSummary,
    outcome: EvalOutcome,
    predictor: SegPredictor,
    bank: Any,
    dataset: SegmentationDataset,
    row: Benchmark,
) -> None:
    from ovperc.evaluation.report import write_report

    write_report(work_dir, summary, outcome.state, predictor.segmenter, bank, dataset, row)
