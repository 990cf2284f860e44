"""One pass over a detection set: rows by image, resumable, in shards, over processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, get_rank, get_world_size, is_main_process

from ovperc.core.atomic import atomic_write
from ovperc.core.config_files import parse_overrides
from ovperc.core.progress import progress_bar
from ovperc.core.summary import RunSummary, plain
from ovperc.data.benchmark import Benchmark
from ovperc.data.detection.eval_settings import DetectionEvalSettings
from ovperc.data.detection.sample import DetectionImages, DetectionSample
from ovperc.evaluation.eval_loop import EvalOptions, join_processes
from ovperc.evaluation.progress import settings_digest
from ovperc.evaluation.reports.detection_table import detection_page
from ovperc.evaluation.request import EvaluationRequest, command_line, split_overrides
from ovperc.evaluation.row_store import RowStore
from ovperc.tasks.methods import load_method
from ovperc.training.compat import prepare_mmengine, tune_allocator

Score = Callable[[DetectionSample], Mapping[str, Any]]


@dataclass(frozen=True)
class ScoringRun:
    """A set, a method, and what has been scored so far.

    Attributes:
        images: the set.
        predictor: the method.
        protocol: of the set.
        store: rows by image.
        work_dir: for results.
        options: shard, processes.
        decisive: what decides the result.
        started: ``time.perf_counter()`` at the start.
        resumed: images that earlier attempts had scored.
    """

    images: DetectionImages
    predictor: Any
    protocol: DetectionEvalSettings
    store: RowStore
    work_dir: Path
    options: EvalOptions
    decisive: Mapping[str, Any]
    started: float
    resumed: int

    def score(self, score: Score, limit: int | None) -> list[int]:
        """Scores the images that are not stored yet; returns those that are, of all processes and shards."""
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, or None for all images; got {limit}")
        indices = range(len(self.images) if limit is None else min(limit, len(self.images)))
        barrier()  # every process has read the notes before one writes a new part
        todo = [index for index in indices if self.options.shard.holds(index) and index not in self.store]
        with progress_bar(quiet=not is_main_process()) as bar:
            task = bar.add_task("testing", total=len(todo[get_rank() :: get_world_size()]))
            try:
                for index in todo[get_rank() :: get_world_size()]:
                    self.store.add(index, score(self.images[index]))
                    bar.advance(task)
            finally:
                self.store.flush()
        barrier()
        self.store.refresh()
        return [index for index in indices if index in self.store]

    def finish(
        self,
        indices: Sequence[int],
        figures: Mapping[str, float],
        tags: Mapping[str, str],
        per_class: Mapping[str, Mapping[str, float]],
        summary_file: str | Path | None,
    ) -> RunSummary:
        """Writes ``summary.json`` and ``report.md``, and drops the notes of a finished run."""
        whole = len(indices) == len(self.images)
        settings = {
            **asdict(self.predictor.info),
            **self.decisive,
            "protocol": dict(tags),
            "images": len(indices),
            "images_in_set": len(self.images),
            "complete": whole and getattr(self.images, "complete", True),
            "resumed": self.resumed,
            "shard": str(self.options.shard),
            "launcher": self.options.launcher,
            "config": settings_digest(self.decisive),
        }
        summary = RunSummary(
            kind="test",
            metrics=figures,
            settings=settings,
            seconds=time.perf_counter() - self.started,
            details={"per_class": per_class},
            command=command_line(sys.argv),
        )
        if is_main_process():
            with atomic_write(self.work_dir / "report.md") as (temporary,):
                temporary.write_text(detection_page(settings, figures, per_class), encoding="utf-8")
            summary.write_all(self.work_dir / "summary.json", summary_file)
            if whole:
                self.store.clear()
        return summary


def start_run(request: EvaluationRequest, row: Benchmark) -> ScoringRun:
    """Opens the set and the method, and takes up what an earlier attempt has scored."""
    started = time.perf_counter()
    tune_allocator()
    prepare_mmengine()
    join_processes(request.options.launcher)
    user, data = split_overrides(parse_overrides(request.overrides))
    images: DetectionImages = request.images(row, data)
    predictor = request.load(**user)
    config = load_method(request.method, user)
    folder = request.folder(config.name, row)
    decisive = {
        **{key: value for key, value in asdict(predictor.info).items() if key not in ("device", "weights")},
        "benchmark": row.name,
        "data": {key: value for key, value in {**row.options, **data}.items() if key != "root"},
        "method_options": plain(asdict(config)),
        "words": list(images.classes),
        "pictures": len(images),
    }
    store = RowStore(folder / f"progress-{settings_digest(decisive)[:12]}", request.options.save_every_s)
    return ScoringRun(images, predictor, row.protocol, store, folder, request.options, decisive, started, len(store))
