"""Evaluation of an anomaly method on all categories of a set in one run.

Scores stay on the patch grid: grids are stored, and maps are rendered from them when they are counted, so memory does
not grow with the number of images. Nothing is fitted on test labels and no score is stretched.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import is_main_process

from ovperc.core.atomic import atomic_write
from ovperc.core.config_files import parse_overrides
from ovperc.core.summary import RunSummary, plain
from ovperc.data.benchmark import Benchmark
from ovperc.evaluation.anomaly_run import AnomalyEvalSettings, AnomalyRun, spread
from ovperc.evaluation.eval_loop import join_processes
from ovperc.evaluation.grid_store import GridStore
from ovperc.evaluation.metrics.anomaly_report import CategoryScores, mean_scores
from ovperc.evaluation.progress import settings_digest
from ovperc.evaluation.reports.anomaly_table import category_table
from ovperc.evaluation.request import EvaluationRequest, command_line, split_overrides
from ovperc.tasks.methods import load_method
from ovperc.training.compat import prepare_mmengine, tune_allocator

if TYPE_CHECKING:
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor


def evaluate_anomaly(request: EvaluationRequest, row: Benchmark) -> RunSummary:
    """Scores a method on every category of a set; a run that was killed goes on where it stopped.

    Args:
        request: what to run. Overrides may also be of the protocol (``eval.size_px=518``, ``shots=4``); predictions are
            maps, ``NAME.npy`` float32; ``threshold`` and ``panels`` belong to segmentation and are refused.
        row: the benchmark.

    Returns:
        The summary. ``metrics``: means over categories in percent; ``details``: by category, and notes on what is not
        defined there.
    """
    started = time.perf_counter()
    request.refuse_segmentation_settings()
    tune_allocator()
    prepare_mmengine()
    join_processes(request.options.launcher)
    user, data = split_overrides(parse_overrides(request.overrides))
    protocol, user = AnomalyEvalSettings.split(user)
    images = request.images(row, data)
    predictor = request.load(**user)
    protocol = dataclasses.replace(protocol, shots=protocol.shots_for(predictor))
    config = load_method(request.method, user)
    work_dir = request.folder(config.name, row)
    decisive = {
        **_identity(predictor),
        "benchmark": row.name,
        "data": {key: value for key, value in {**row.options, **data}.items() if key != "root"},
        "protocol": plain(asdict(protocol)),
        "method_options": plain(asdict(config)),
        "images_in_set": len(images),
    }
    digest = settings_digest(decisive)
    store = GridStore(work_dir / f"grids-{digest[:12]}", request.options.save_every_s)
    run, indices = AnomalyRun(images, predictor, protocol, store), spread(images, request.limit)
    resumed = sum(index in store for index in indices)
    run.score([index for index in indices if request.options.shard.holds(index)], request.options.num_workers)
    present = [index for index in indices if index in store]
    scores = run.count(present)
    settings = {
        **asdict(predictor.info),
        **{key: decisive[key] for key in ("benchmark", "data", "protocol", "images_in_set")},
        "overrides": dict(user),
        "images": len(present),
        "complete": len(present) == len(images) and getattr(images, "complete", True),
        "resumed": resumed,
        "shard": str(request.options.shard),
        "launcher": request.options.launcher,
        "num_workers": request.options.num_workers,
        "config": digest,
    }
    summary = _summary(scores, settings, time.perf_counter() - started)
    if is_main_process():
        predictions = request.saved_in(work_dir / "predictions")
        if predictions is not None:
            run.save_maps(predictions, present)
        _write(summary, scores, work_dir, request.summary_file)
        if len(present) == len(indices):
            store.clear()
    return summary


def _write(
    summary: RunSummary, scores: Mapping[str, CategoryScores], work_dir: Path, summary_file: str | Path | None
) -> None:
    with atomic_write(work_dir / "report.md") as (temporary,):
        temporary.write_text(category_table(summary.settings, scores), encoding="utf-8")
    summary.write_all(work_dir / "summary.json", summary_file)


def _identity(predictor: AnomalyPredictor) -> dict[str, Any]:
    """What of the predictor decides the scores; the name of the weights where no fingerprint tells them."""
    apart = {"device", "weights"} if predictor.info.fingerprint else {"device"}
    return {key: value for key, value in asdict(predictor.info).items() if key not in apart}


def _summary(scores: Mapping[str, CategoryScores], settings: Mapping[str, Any], seconds: float) -> RunSummary:
    return RunSummary(
        kind="test",
        metrics=mean_scores(scores.values()),
        settings=settings,
        seconds=seconds,
        details={
            "per_category": {name: entry.figures for name, entry in scores.items()},
            "counts": {name: asdict(entry.counts) for name, entry in scores.items()},
            "notes": {name: entry.notes for name, entry in scores.items() if entry.notes},
        },
        command=command_line(sys.argv),
    )
