"""What an evaluation is asked to do, the same for every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size

from ovperc.data.benchmark import Benchmark
from ovperc.evaluation.eval_loop import EvalOptions
from ovperc.training.compat import prepare_mmseg

DATA_PREFIX = "data."


@dataclass(frozen=True)
class EvaluationRequest:
    """One method on one test set.

    Attributes:
        method: name or file of a method config.
        weights, arch, device, dtype: as for ``ovperc.load``.
        overrides: of the method (``readout.residual=False``), or of the test set (``data.seed=1``).
        data_root: the data set's folder, or the folder of all; ``None`` takes ``$OVPERC_DATA``.
        allow_partial: score what is there of an incomplete copy.
        threshold: replaces the protocol's background threshold (segmentation).
        limit: only the first images; of anomaly sets about so many, evenly from all categories and kinds.
        panels: images with the lowest mIoU in ``report.html``; 0 writes no report (segmentation).
        save_predictions: a folder for what the method finds; ``True`` is one in the work dir.
        options: processes, shard, presence protocol.
        work_dir: for the log and ``summary.json``; ``work_dirs/METHOD_BENCHMARK`` by default.
        summary_file: a second place for the summary.
    """

    method: str | Path
    weights: str | Path | None = None
    arch: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    overrides: Sequence[str] | Mapping[str, Any] | None = None
    data_root: str | Path | None = None
    allow_partial: bool = False
    threshold: float | None = None
    limit: int | None = None
    panels: int = 0
    save_predictions: str | Path | bool = False
    options: EvalOptions = field(default_factory=EvalOptions)
    work_dir: str | Path | None = None
    summary_file: str | Path | None = None

    def load(self, **overrides: Any) -> Any:
        """The predictor, with overrides of the method."""
        from ovperc.tasks.load import load

        return load(self.method, self.weights, self.arch, device=self.device, dtype=self.dtype, **overrides)

    def folder(self, method: str, row: Benchmark) -> Path:
        """The work dir of a method, by its name, on a benchmark."""
        return Path(self.work_dir or Path("work_dirs") / f"{method}_{row.name}")

    def saved_in(self, folder: Path) -> Path | None:
        """Where predictions go, ``folder`` where no other is named; None where they are not kept."""
        if not self.save_predictions:
            return None
        return folder if self.save_predictions is True else Path(self.save_predictions)

    def images(self, row: Benchmark, options: Mapping[str, Any]) -> Any:
        """A benchmark's images, with options replaced.

        Raises:
            LayoutError: the data is not there, or not whole.
            ValueError: a data root for a benchmark that has no files.
        """
        if not row.needs_data:
            if self.data_root is not None:
                raise ValueError(f"benchmark {row.name!r} is generated and has no files; leave out --data-root")
            return row.images(**options)
        if row.task == "segmentation":
            prepare_mmseg()
        root = None if self.data_root is None else str(self.data_root)
        return row.images(**{"root": root, "partial": self.allow_partial, **options})

    def refuse_segmentation_settings(self) -> None:
        """For other tasks: settings that would change nothing are errors.

        Raises:
            ValueError: ``threshold``, ``panels`` or the presence protocol is set.
        """
        if self.threshold is not None:
            raise ValueError("--threshold is for segmentation: these figures rank scores and need no threshold")
        if self.options.presence:
            raise ValueError("--presence is for segmentation, whose images can be asked for absent classes")
        if self.panels:
            raise ValueError("--panels is for segmentation; --save-predictions stores what the method finds")


def split_overrides(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separates overrides of the method from those of the test set, which are written ``data.NAME``."""
    method = {name: value for name, value in options.items() if not name.startswith(DATA_PREFIX)}
    data = {name.removeprefix(DATA_PREFIX): options[name] for name in options if name not in method}
    return method, data


def command_line(argv: Sequence[str]) -> tuple[str, ...]:
    """The command without the folder its script lies in, and with the launcher it was started by."""
    head = Path(argv[0]).name if argv else ""
    if not head.endswith(".py"):
        return (head, *argv[1:])
    launcher = ("torchrun", "--nproc-per-node", str(get_world_size())) if get_world_size() > 1 else ("python",)
    return (*launcher, f"tools/{head}", *argv[1:])
