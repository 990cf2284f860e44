"""Evaluation of a method on a benchmark, on mmengine's Runner."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from ovperc.data.benchmarks import Benchmark, get_benchmark
from ovperc.data.segmentation import SegmentationDataset
from ovperc.engine.compat import prepare_mmengine, prepare_mmseg, tune_allocator
from ovperc.engine.configs import parse_overrides
from ovperc.engine.summary import RunSummary
from ovperc.engine.train import prepare_launcher, run_name

if TYPE_CHECKING:
    from ovperc.structures import TextBank
    from ovperc.tasks.segmentation import DenseSegmenter

DATA_PREFIX = "data."


class EvaluationRunner(Runner):
    """mmengine's Runner for models that are not trained: never wrapped, and quiet on the terminal.

    ``DistributedDataParallel`` refuses a model without gradients; metrics are summed over processes without it. The
    log file in the work dir has everything.
    """

    def wrap_model(self, model_wrapper_cfg: Mapping[str, Any] | None, model: nn.Module) -> nn.Module:
        """Returns the model as it is, on the device it chose."""
        return model

    def build_logger(self, **settings: Any) -> MMLogger:
        """A logger whose terminal handler shows warnings only."""
        logger = super().build_logger(**settings)
        for handler in logger.handlers:
            if type(handler).__name__ == "StreamHandler":
                handler.setLevel("WARNING")
        return logger


def evaluate(
    method: str | Path,
    benchmark: str,
    *,
    weights: str | Path | None = None,
    arch: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    overrides: Sequence[str] | Mapping[str, Any] | None = None,
    limit: int | None = None,
    num_workers: int = 0,
    launcher: str = "none",
    work_dir: str | Path | None = None,
    summary_file: str | Path | None = None,
) -> RunSummary:
    """Scores a training-free method on a benchmark.

    Args:
        method: name or file of a method config.
        benchmark: name in ``ovperc.data.benchmarks``.
        weights, arch, device, dtype: as for ``ovperc.load``.
        overrides: of the method (``readout.residual=False``), or of the test set (``data.seed=1``).
        limit: only the first images.
        num_workers: processes that make or read images.
        launcher: ``none``, or ``pytorch`` under torchrun.
        work_dir: for the log and ``summary.json``; ``work_dirs/METHOD_BENCHMARK`` by default.
        summary_file: a second place for the summary.

    Returns:
        The summary: ``mIoU``, ``mAcc``, ``aAcc``, ``fwIoU`` in percent, ``mIoU.GROUP`` where the benchmark has groups,
        and scores by class in ``details``.
    """
    from ovperc.predictor import load

    started = time.perf_counter()
    tune_allocator()
    prepare_mmengine()
    row = get_benchmark(benchmark)
    method_options, data_options = split_overrides(parse_overrides(overrides))
    dataset = SegmentationDataset(row.images(**data_options), limit)
    predictor = load(method, weights, arch, device=device, dtype=dtype, **method_options)
    bank = predictor.bank(row.vocabulary(dataset.source))
    work_dir = Path(work_dir or Path("work_dirs") / f"{predictor.info.method}_{benchmark}")
    settings = {
        **asdict(predictor.info),
        "benchmark": benchmark,
        "data": {**row.options, **data_options},
        "overrides": method_options,
        "images": len(dataset),
        "absent": row.absent,
        "launcher": launcher,
        "num_workers": num_workers,
    }
    scores = run_test(
        predictor.segmenter, bank, dataset, row,
        work_dir=work_dir, num_workers=num_workers, launcher=launcher, settings=settings,
    )  # fmt: skip
    per_class = {name: score for name, score in scores.items() if name.startswith(("IoU.", "Acc."))}
    summary = RunSummary(
        kind="test",
        metrics={name: score for name, score in scores.items() if name not in per_class},
        settings=settings,
        seconds=time.perf_counter() - started,
        details={"per_class": per_class},
    )
    if is_main_process():
        summary.write_all(work_dir / "summary.json", summary_file)
    return summary


def split_overrides(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separates overrides of the method from those of the test set, which are written ``data.NAME``."""
    method = {name: value for name, value in options.items() if not name.startswith(DATA_PREFIX)}
    data = {name.removeprefix(DATA_PREFIX): options[name] for name in options if name not in method}
    return method, data


def run_test(
    segmenter: DenseSegmenter,
    bank: TextBank,
    dataset: SegmentationDataset,
    benchmark: Benchmark,
    *,
    work_dir: str | Path,
    num_workers: int = 0,
    launcher: str = "none",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Runs a segmenter over a dataset and returns scores by name, in percent.

    Raises:
        ValueError: the bank's names are not the dataset's classes.
    """
    classes = dataset.metainfo["classes"]
    if tuple(bank.names) != tuple(classes):
        raise ValueError(f"the words {bank.names[:3]}... are not the classes of {benchmark.name}: {classes[:3]}...")
    prepare_mmseg()
    from ovperc.tasks.mmseg_model import OpenVocabularySegmentor

    config = Config({"launcher": launcher, "settings": dict(settings or {})})
    prepare_launcher(config)
    runner = EvaluationRunner(
        model=OpenVocabularySegmentor(segmenter, bank),
        work_dir=str(work_dir),
        test_dataloader={
            "dataset": dataset,
            "sampler": {"type": "DefaultSampler", "shuffle": False, "round_up": False},
            "collate_fn": {"type": "pseudo_collate"},
            "batch_size": 1,
            "num_workers": num_workers,
        },
        test_evaluator={
            "type": "StreamingIoU",
            "ignore_index": benchmark.ignore_index,
            "absent": benchmark.absent,
            "per_class": True,
        },
        test_cfg={},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 100}, "checkpoint": None},
        custom_hooks=[{"type": "ProgressHook"}],
        log_processor={"by_epoch": False},
        default_scope="ovperc",
        launcher=launcher,
        experiment_name=run_name(Path(work_dir).name),
        cfg=config,
    )
    scores = runner.test()
    return {name.removeprefix("seg/"): value for name, value in scores.items() if name.startswith("seg/")}
