"""Evaluation of a method on a benchmark: resumable, sharded and distributed, for all tasks."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_rank, get_world_size, init_dist, is_distributed, is_main_process
from torch.utils.data import DataLoader, Dataset

from ovperc.core.atomic import remove_leftovers
from ovperc.core.command_line import command_line
from ovperc.core.config_files import parse_overrides
from ovperc.core.progress import progress_bar
from ovperc.core.summary import RunSummary, plain
from ovperc.data.benchmark import Benchmark
from ovperc.data.benchmarks import BENCHMARKS, get_benchmark
from ovperc.evaluation.request import EvalOptions, EvaluationRequest, split_overrides
from ovperc.evaluation.store import PartStore
from ovperc.evaluation.table import EVALUATIONS
from ovperc.evaluation.task_evaluation import EvaluationInputs, TaskEvaluation
from ovperc.tasks.methods import read_method
from ovperc.training.compat import prepare_mmengine, tune_allocator
from ovperc.training.train import prepare_launcher


def evaluate(method: str | Path, benchmark: str, **settings: Any) -> RunSummary:
    """Evaluates a method on a benchmark of its task.

    An interrupted run continues when started again with the same arguments.

    Args:
        method: name or file of a method config.
        benchmark: name of a benchmark in ``ovperc.data.benchmarks``.
        **settings: other fields of :class:`ovperc.evaluation.request.EvaluationRequest`.

    Returns:
        The summary: ``metrics`` in percent, and results per class or category in ``details``.

    Raises:
        ValueError: method and benchmark have different tasks, or a setting does not exist.
    """
    return run_evaluation(EvaluationRequest(method, **settings), get_benchmark(benchmark))


def run_evaluation(request: EvaluationRequest, row: Benchmark) -> RunSummary:
    """Runs a request on a benchmark, writes summary and reports, and returns the summary; see :func:`evaluate`."""
    started = time.perf_counter()
    request = request.with_weights_of(row)
    opened = _open(request, row)
    evaluation, work_dir, options = opened.evaluation, request.folder(row), request.options
    if is_main_process():
        remove_leftovers(work_dir, recursive=True)
    store = PartStore(work_dir / f"progress-{opened.digest[:12]}", options.save_every_s)
    indices = evaluation.select(request.limit)
    resumed = sum(index in store for index in indices)
    _log(work_dir, f"{' '.join(command_line())}: settings {opened.digest}, {resumed} of {len(indices)} images are done")
    present = score_images(evaluation, store, indices, options)
    scores = evaluation.summarise(store, present)
    progress = {
        "images": len(present),
        "images_in_set": len(evaluation.images),
        "complete": len(present) == len(evaluation.images) and getattr(evaluation.images, "complete", True),
        "resumed": resumed,
        "shard": str(options.shard),
        "launcher": options.launcher,
        "num_workers": options.num_workers,
        "config": opened.digest,
    }
    summary = RunSummary(
        kind="test",
        metrics=scores.metrics,
        settings={**opened.settings, **scores.settings, **progress},
        seconds=time.perf_counter() - started,
        details=scores.details,
    )
    if is_main_process():
        _log(work_dir, ", ".join(f"{name} {value:.4f}" for name, value in scores.metrics.items()))
        evaluation.write_reports(work_dir, summary, scores, store, present)
        summary.write_all(work_dir / "summary.json", request.summary_file)
        if len(present) == len(indices):
            store.clear()
    return summary


@dataclass(frozen=True)
class _Opened:
    """A method on a benchmark, with its settings for the summary and their digest."""

    evaluation: TaskEvaluation
    settings: Mapping[str, Any]
    digest: str


def _open(request: EvaluationRequest, row: Benchmark) -> _Opened:
    """Reads the config once, opens the images and loads the predictor."""
    if request.limit is not None and request.limit < 1:
        raise ValueError(f"limit must be at least 1, or None for all images; got {request.limit}")
    task = EVALUATIONS[row.evaluation or row.task]
    task.check(request)
    tune_allocator()
    prepare_mmengine()
    join_processes(request.options.launcher)
    user, data = split_overrides(parse_overrides(request.overrides))
    overrides = task.method_overrides(row, request.method_name, user)
    config = read_method(request.method, overrides)
    _check_task(task, config.task, request, row)
    images, predictor = request.images(row, data), request.load(config)
    method = (getattr(predictor, "resolved", None) or config.on(None)).method
    evaluation = task.of(EvaluationInputs(request, row, images, predictor, method, user))
    test_set = {
        "benchmark": row.name,
        "data": {key: value for key, value in {**row.options, **data}.items() if key != "root"},
    }
    decisive = {
        **_identity(evaluation),
        **test_set,
        "method_options": plain(asdict(method)),
        "images_in_set": len(images),
        **evaluation.decisive,
    }
    settings = {**asdict(evaluation.info), **test_set, "overrides": overrides}
    return _Opened(evaluation, settings, settings_digest(decisive))


def score_images(
    evaluation: TaskEvaluation,
    store: PartStore,
    indices: Sequence[int],
    options: EvalOptions,
) -> list[int]:
    """Scores this process's share of the images that are not stored yet.

    Returns:
        The stored indices, from all processes, shards and attempts.

    Raises:
        ValueError: processes do not share a work dir.
    """
    barrier()  # all processes must read the store before one writes a new part
    todo = [index for index in indices if options.shard.holds(index) and index not in store]
    own = sorted(todo[get_rank() :: get_world_size()], key=lambda index: (evaluation.group_of(index), index))
    with progress_bar(quiet=not is_main_process()) as bar:
        shown = bar.add_task("testing", total=len(own))
        try:
            batches = _batches(evaluation, own, options.num_workers)
            for group, of_group in groupby(batches, lambda batch: evaluation.group_of(batch[0][0])):
                score = evaluation.scorer_of(group)
                for batch in of_group:
                    results = score([sample for _, sample in batch])
                    for (index, _), result in zip(batch, results, strict=True):
                        store.add(index, result)
                        bar.advance(shown)
        finally:
            store.flush()
    barrier()
    store.refresh()
    if missing := [index for index in todo if index not in store]:
        raise ValueError(f"{len(missing)} results are not in {store.folder}: processes must share one work dir")
    return [index for index in indices if index in store]


def join_processes(launcher: str) -> None:
    """Initialises torch.distributed under torchrun; idempotent."""
    if launcher == "none" or is_distributed():
        return
    config = Config({"launcher": launcher})
    prepare_launcher(config)
    if not is_distributed():
        init_dist(launcher)


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, independent of their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


class _Indexed(Dataset):
    """Annotated images with their index in the test set."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.images[index]


def _batches(
    evaluation: TaskEvaluation, indices: Sequence[int], num_workers: int
) -> Iterator[Sequence[tuple[int, Any]]]:
    """Batches of annotated images of one group each, prefetched by worker processes."""
    size = evaluation.batch_size
    groups = (list(group) for _, group in groupby(indices, evaluation.group_of))
    batches = [group[start : start + size] for group in groups for start in range(0, len(group), size)]
    loader = DataLoader(
        _Indexed(evaluation.images),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=list,
        generator=torch.Generator(),  # otherwise it draws from torch's global generator
    )
    try:
        yield from loader
    except ValueError as error:
        raise _worker_error(error) from error


def _worker_error(error: ValueError) -> ValueError:
    """The error raised in a worker process, without the traceback that torch adds to its message."""
    text = str(error)
    if not text.startswith("Caught ") or "Original Traceback" not in text:
        return error
    last = text.rstrip().rpartition("\n")[2]
    return type(error)(last.partition(": ")[2] or last)


def _check_task(evaluation: type[TaskEvaluation], task: str, request: EvaluationRequest, row: Benchmark) -> None:
    if evaluation.any_task or task == row.task:
        return
    near = ", ".join(other.name for other in BENCHMARKS.values() if other.task == task)
    raise ValueError(
        f"method {str(request.method)!r} is for {task}, benchmark {row.name!r} for {row.task}; "
        f"choose one of {near or 'no benchmark yet'}"
    )


def _identity(evaluation: TaskEvaluation) -> dict[str, Any]:
    """Settings of the predictor that determine results: not its device or the location of its weights."""
    known = {key: value for key, value in asdict(evaluation.info).items() if key != "device"}
    return {**known, "weights": Path(str(known["weights"])).name}


def _log(work_dir: Path, line: str) -> None:
    """Appends a line to ``run.log``, the history of a run's attempts."""
    if is_main_process():
        work_dir.mkdir(parents=True, exist_ok=True)
        with (work_dir / "run.log").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
