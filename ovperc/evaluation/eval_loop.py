"""One pass of a segmenter over a test set: resumable, in shards, over processes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.config import Config
from mmengine.dist import barrier, init_dist, is_distributed
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from ovperc.core.atomic import atomic_write
from ovperc.data.annotations import encode_annotation
from ovperc.data.benchmark import Benchmark
from ovperc.data.segmentation.dataset import SegmentationDataset
from ovperc.evaluation.metrics.evaluation_state import EvaluationState
from ovperc.evaluation.progress import ProgressFolder, settings_digest
from ovperc.training.compat import prepare_mmseg
from ovperc.training.train import prepare_launcher, run_name

if TYPE_CHECKING:
    from ovperc.core.structures import TextBank
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter


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


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th image, beginning with image ``number - 1``.

    Attributes:
        number: 1 to ``count``.
        count: of all shards.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"a shard is i/n with 1 <= i <= n; got {self.number}/{self.count}")

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Reads ``"2/4"``; ``None`` is everything."""
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None:
            raise ValueError(f"a shard is written i/n, such as 2/4 for the second of four; got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def holds(self, index: int) -> bool:
        """Whether an image belongs to the shard."""
        return index % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class EvalOptions:
    """How a test set is run.

    Attributes:
        num_workers: processes that make or read images.
        launcher: ``none``, or ``pytorch`` under torchrun.
        shard: the part of the images that this run scores.
        presence: absent classes that each image is asked for too; 0 leaves the protocol out.
        keep_worst: images with the lowest mIoU that are remembered.
        predictions: folder for label maps, ``NAME.png``; ``None`` for none.
        save_every_s: seconds between two notes of the progress.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    num_workers: int = 0
    launcher: str = "none"
    shard: Shard = Shard()
    presence: int = 0
    keep_worst: int = 0
    predictions: Path | None = None
    save_every_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("num_workers", "presence", "keep_worst", "save_every_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")


@dataclass(frozen=True)
class EvalOutcome:
    """What a run found.

    Attributes:
        state: all counts, of this and of earlier attempts and shards.
        scores: by name, in percent; by class as ``IoU.NAME`` and ``Acc.NAME``.
        resumed: images that earlier attempts or other shards had counted.
        progress: the notes on disk; to be cleared once the result is stored.
    """

    __test__ = False

    state: EvaluationState
    scores: Mapping[str, float]
    resumed: int
    progress: ProgressFolder

    @property
    def finished(self) -> bool:
        """Whether every image is counted, not only those of one shard."""
        return bool(self.state.done.all())


def run_eval_loop(
    segmenter: DenseSegmenter,
    bank: TextBank,
    dataset: SegmentationDataset,
    benchmark: Benchmark,
    *,
    work_dir: str | Path,
    options: EvalOptions = EvalOptions(),
    settings: Mapping[str, Any] | None = None,
) -> EvalOutcome:
    """Runs a segmenter over a test set; goes on where an earlier run with the same settings stopped.

    Args:
        segmenter: any method.
        bank: its words, label by label those of the test set.
        dataset: all images, whatever the shard.
        benchmark: protocol.
        work_dir: for the log and the notes of the progress.
        options: see :class:`EvalOptions`.
        settings: what decides the result; runs with other settings do not take up each other's progress.

    Raises:
        ValueError: the bank's names are not the dataset's classes, or the notes on disk are damaged.
    """
    classes = dataset.metainfo["classes"]
    if tuple(bank.names) != tuple(classes):
        raise ValueError(f"the words {bank.names[:3]}... are not the classes of {benchmark.name}: {classes[:3]}...")
    join_processes(options.launcher)

    decisive = {**(settings or {}), "presence": options.presence, "keep_worst": options.keep_worst}
    digest = settings_digest({**decisive, "images": len(dataset)})
    progress = ProgressFolder(work_dir, digest, options.save_every_s)
    run = _Run(segmenter, bank, dataset, benchmark, Path(work_dir), options, progress)
    earlier = run.empty_state()
    progress.add_to(earlier)
    barrier()  # every process has read the notes before one writes a new part
    resumed = int(earlier.done.sum())
    total = run.score(earlier)
    if not total.done.all() and options.shard.count > 1:
        total = run.with_other_shards(total)
    return EvalOutcome(total, _all_scores(total, dataset), resumed, progress)


def join_processes(launcher: str) -> None:
    """Joins the processes of torchrun, if that is the launcher; safe to repeat."""
    if launcher == "none" or is_distributed():
        return
    config = Config({"launcher": launcher})
    prepare_launcher(config)
    if not is_distributed():
        init_dist(launcher)


@dataclass(frozen=True)
class _Run:
    """What :func:`run_eval_loop` was called with, and where its notes lie."""

    segmenter: DenseSegmenter
    bank: TextBank
    dataset: SegmentationDataset
    benchmark: Benchmark
    work_dir: Path
    options: EvalOptions
    progress: ProgressFolder

    def empty_state(self) -> EvaluationState:
        row = self.benchmark
        return EvaluationState(
            len(self.dataset), len(self.bank.names), row.ignore_index, row.absent, self.options.keep_worst
        )

    def score(self, earlier: EvaluationState) -> EvaluationState:
        """Counts the images of the shard that are not counted yet; returns the sum with the earlier ones."""
        todo = [i for i in self.dataset.indices if self.options.shard.holds(i) and not earlier.done[i]]
        if not todo:
            return earlier
        prepare_mmseg()
        from ovperc.evaluation.metrics.benchmark_metric import BenchmarkMetric

        state = self.empty_state()
        metric = BenchmarkMetric(state, earlier, lambda sample: self._note(sample, state))
        runner = self._runner(self.dataset.select(todo), metric)
        try:
            runner.test()
        except ValueError as error:
            raise worker_error(error) from error
        finally:
            if state.done.any():
                self.progress.save(state, now=True)
        assert metric.total is not None
        return metric.total

    def _note(self, sample: Mapping[str, Any], state: EvaluationState) -> None:
        """Stores the prediction of an image, and the progress when it is due."""
        if self.options.predictions is not None:
            labels = sample["pred_sem_seg"]["data"]
            save_prediction(self.options.predictions, sample["img_path"], labels, len(self.bank.names))
        self.progress.save(state)

    def _runner(self, dataset: SegmentationDataset, metric: BaseMetric) -> EvaluationRunner:
        from ovperc.evaluation.mmseg_model import OpenVocabularySegmentor
        from ovperc.evaluation.presence_probe import PresenceProbe

        options, row = self.options, self.benchmark
        probe = PresenceProbe(options.presence, row.name, row.ignore_index) if options.presence else None
        return EvaluationRunner(
            model=OpenVocabularySegmentor(self.segmenter, self.bank, presence=probe),
            work_dir=str(self.work_dir),
            test_dataloader={
                "dataset": dataset,
                "sampler": {"type": "DefaultSampler", "shuffle": False, "round_up": False},
                "collate_fn": {"type": "pseudo_collate"},
                "batch_size": 1,
                "num_workers": options.num_workers,
            },
            test_evaluator=[metric],
            test_cfg={},
            default_hooks={"logger": {"type": "LoggerHook", "interval": 100}, "checkpoint": None},
            custom_hooks=[{"type": "ProgressHook"}],
            log_processor={"by_epoch": False},
            default_scope="ovperc",
            launcher=options.launcher,
            experiment_name=run_name(self.work_dir.name),
            cfg=Config({"launcher": options.launcher}),
        )

    def with_other_shards(self, own: EvaluationState) -> EvaluationState:
        """The sum of all parts on disk, if other shards have added to them since this run began."""
        barrier()
        every = self.empty_state()
        self.progress.add_to(every)
        return every if int(every.done.sum()) > int(own.done.sum()) else own


def worker_error(error: ValueError) -> ValueError:
    """The error that a loading process met, without the traceback that torch writes around its message."""
    text = str(error)
    if not text.startswith("Caught ") or "Original Traceback" not in text:
        return error
    last = text.rstrip().rpartition("\n")[2]
    return type(error)(last.partition(": ")[2] or last)


def _all_scores(state: EvaluationState, dataset: SegmentationDataset) -> dict[str, float]:
    scores = state.scores(dataset.metainfo["groups"])
    kinds = {"IoU": state.matrix.iou(), "Acc": state.matrix.accuracy(), "bIoU": state.boundary.iou()}
    for kind, values in kinds.items():
        names = dataset.metainfo["classes"]
        scores |= {f"{kind}.{name}": 100.0 * float(value) for name, value in zip(names, values, strict=True)}
    return scores


def save_prediction(folder: Path, name: str, labels: Any, num_classes: int) -> None:
    """Stores a label map ``(1, H, W)`` as ``folder/name.png``: 8 bit up to 256 labels, else 16."""
    array = np.asarray(labels.cpu()).squeeze(0).astype(np.uint8 if num_classes <= 256 else np.uint16)
    with atomic_write(folder / f"{name}.png") as (temporary,):
        temporary.write_bytes(encode_annotation(array, ".png"))
