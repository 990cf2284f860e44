"""Evaluation of an anomaly method on all categories of a set in one run.

Scores stay on the patch grid: grids are stored, and maps are rendered from them when they are counted, so memory does
not grow with the number of images. Nothing is fitted on test labels and no score is stretched.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import is_main_process

from ovperc.configs import load_method
from ovperc.data.anomaly.grid_store import GridStore
from ovperc.data.anomaly.records import AnomalyImages
from ovperc.data.benchmarks import Benchmark
from ovperc.engine.anomaly_run import AnomalyProtocol, AnomalyRun, spread
from ovperc.engine.compat import prepare_mmengine, tune_allocator
from ovperc.engine.configs import parse_overrides
from ovperc.engine.evaluate import command_line, split_overrides
from ovperc.engine.progress import settings_digest
from ovperc.engine.summary import RunSummary, plain
from ovperc.engine.test_run import TestOptions, join_processes
from ovperc.io.atomic import atomic_write
from ovperc.metrics.anomaly_report import CategoryScores, mean_scores
from ovperc.reports.anomaly_table import category_table

if TYPE_CHECKING:
    from ovperc.anomaly.predictor import AnomalyPredictor


def evaluate_anomaly(
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
    """Scores a method on every category of a set; a run that was killed goes on where it stopped.

    Args:
        method: name or file of a method config.
        row: the benchmark.
        weights, arch, device, dtype: as for ``ovperc.load``.
        overrides: of the method, of the test set (``data.seed=1``) or of the protocol (``eval.size_px=518``,
            ``shots=4``).
        data_root: the data set's folder, or the folder of all; ``None`` takes ``$OVPERC_DATA``.
        allow_partial: score the categories that are there.
        threshold, panels: belong to segmentation and are refused.
        limit: about so many images, evenly from all categories and kinds.
        save_predictions: a folder for maps ``NAME.npy`` float32; ``True`` is ``predictions`` in the work dir.
        options: processes, shard.
        work_dir: for ``summary.json`` and ``report.md``; ``work_dirs/METHOD_BENCHMARK`` by default.
        summary_file: a second place for the summary.

    Returns:
        The summary. ``metrics``: means over categories in percent; ``details``: by category, and notes on what is not
        defined there.
    """
    from ovperc.predictor import load

    started = time.perf_counter()
    _refuse(threshold, panels, options)
    tune_allocator()
    prepare_mmengine()
    join_processes(options.launcher)
    user, data = split_overrides(parse_overrides(overrides))
    protocol, user = AnomalyProtocol.split(user)
    images = open_anomaly_images(row, data, data_root, allow_partial)
    predictor = load(method, weights, arch, device=device, dtype=dtype, **user)
    protocol = dataclasses.replace(protocol, shots=protocol.shots_for(predictor))
    config = load_method(method, user)
    work_dir = Path(work_dir or Path("work_dirs") / f"{config.name}_{row.name}")
    decisive = {
        **_identity(predictor),
        "benchmark": row.name,
        "data": {key: value for key, value in {**row.options, **data}.items() if key != "root"},
        "protocol": plain(asdict(protocol)),
        "method_options": plain(asdict(config)),
        "images_in_set": len(images),
    }
    digest = settings_digest(decisive)
    store = GridStore(work_dir / f"grids-{digest[:12]}", options.save_every_s)
    run, indices = AnomalyRun(images, predictor, protocol, store), spread(images, limit)
    resumed = sum(index in store for index in indices)
    run.score([index for index in indices if options.shard.holds(index)], options.num_workers)
    present = [index for index in indices if index in store]
    scores = run.count(present)
    settings = {
        **asdict(predictor.info),
        **{key: decisive[key] for key in ("benchmark", "data", "protocol", "images_in_set")},
        "overrides": dict(user),
        "images": len(present),
        "complete": len(present) == len(images) and getattr(images, "complete", True),
        "resumed": resumed,
        "shard": str(options.shard),
        "launcher": options.launcher,
        "num_workers": options.num_workers,
        "config": digest,
    }
    summary = _summary(scores, settings, time.perf_counter() - started)
    if is_main_process():
        if save_predictions:
            run.save_maps(work_dir / "predictions" if save_predictions is True else Path(save_predictions), present)
        _write(summary, scores, work_dir, summary_file)
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


def _refuse(threshold: float | None, panels: int, options: TestOptions) -> None:
    """Settings that would change nothing are errors."""
    if threshold is not None:
        raise ValueError("--threshold is for segmentation: anomaly figures rank scores and need no threshold")
    if options.presence:
        raise ValueError("--presence is for segmentation; anomaly sets ask no absent classes")
    if panels:
        raise ValueError("--panels is for segmentation; --save-predictions stores the maps of an anomaly method")


def open_anomaly_images(
    row: Benchmark, options: Mapping[str, Any], data_root: str | Path | None, allow_partial: bool
) -> AnomalyImages:
    """A benchmark's images.

    Raises:
        LayoutError: the data is not there.
        ValueError: a data root for a benchmark that has no files.
    """
    if row.needs_data:
        root = None if data_root is None else str(data_root)
        return row.images(**{"root": root, "partial": allow_partial, **options})  # type: ignore[return-value]
    if data_root is not None:
        raise ValueError(f"benchmark {row.name!r} is generated and has no files; leave out --data-root")
    return row.images(**options)  # type: ignore[return-value]


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
