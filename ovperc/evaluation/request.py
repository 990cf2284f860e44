"""Evaluation requests, common to all tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.core.config_files import find_config
from ovperc.data.benchmark import Benchmark

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig

DATA_PREFIX = "data."


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th image, starting with image ``number - 1``.

    Attributes:
        number: 1 to ``count``.
        count: number of shards.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"a shard must be i/n with 1 <= i <= n; got {self.number}/{self.count}")

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Parses ``"2/4"``; ``None`` for all images."""
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None:
            raise ValueError(f"a shard must be i/n, such as 2/4 for the second of four; got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def holds(self, index: int) -> bool:
        """Whether an image belongs to the shard."""
        return index % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class EvalOptions:
    """Options of an evaluation run.

    Attributes:
        num_workers: data loading processes.
        launcher: ``none``, or ``pytorch`` under torchrun.
        shard: shard of the images to evaluate.
        presence: number of absent classes per image for the presence metrics (segmentation); 0 to skip them.
        save_every_s: seconds between two writes to the store.
    """

    __test__ = False  # not a test case for pytest

    num_workers: int = 0
    launcher: str = "none"
    shard: Shard = Shard()
    presence: int = 0
    save_every_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("num_workers", "presence", "save_every_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be non-negative; got {getattr(self, name)}")


@dataclass(frozen=True)
class EvaluationRequest:
    """An evaluation of a method on a benchmark.

    Attributes:
        method: name or file of a method config.
        weights, arch, device, dtype: as in ``ovperc.load``.
        overrides: user settings of the method (``readout.residual=False``) or the test set (``data.seed=1``).
        data_root: folder of the data set, or of all data sets; ``None`` uses ``$OVPERC_DATA``.
        allow_partial: evaluate an incomplete copy of the data set.
        threshold: overrides the published background threshold (segmentation).
        limit: maximum number of images; for anomaly data sets approximate, spread evenly over categories.
        panels: number of worst images in ``report.html``; 0 for no report (segmentation).
        save_predictions: folder for the predictions; ``True`` for one in the work dir.
        options: workers, shard and presence.
        work_dir: folder for results; ``work_dirs/METHOD_BENCHMARK`` by default.
        summary_file: additional path of the summary.
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

    @property
    def method_name(self) -> str:
        """Name of the method: the stem of its config file.

        Raises:
            FileNotFoundError: there is no such method; the message suggests close matches.
        """
        return find_config(self.method, "methods").stem

    def load(self, config: MethodConfig | None = None) -> Any:
        """Loads the predictor of the method, or of its config if already read."""
        from ovperc.tasks.load import load

        return load(config or self.method, self.weights, self.arch, device=self.device, dtype=self.dtype)

    def with_weights_of(self, row: Benchmark) -> EvaluationRequest:
        """The request with the weights of the benchmark's row, where it names none of its own."""
        if self.weights is not None or self.arch is not None:
            return self
        return replace(self, weights=row.default_weights(self.method_name))

    def folder(self, row: Benchmark) -> Path:
        """The work dir for a benchmark."""
        return Path(self.work_dir or Path("work_dirs") / f"{self.method_name}_{row.name}")

    def saved_in(self, folder: Path) -> Path | None:
        """Folder for predictions, ``folder`` by default; None to discard them."""
        if not self.save_predictions:
            return None
        return folder if self.save_predictions is True else Path(self.save_predictions)

    def images(self, row: Benchmark, options: Mapping[str, Any]) -> Any:
        """Opens a benchmark's images, with overridden options.

        Raises:
            LayoutError: the data is missing or incomplete.
            ValueError: a data root is given for a generated benchmark.
        """
        if row.needs_data:
            root = None if self.data_root is None else str(self.data_root)
            return row.images(**{"root": root, "partial": self.allow_partial, **options})
        if self.data_root is not None:
            raise ValueError(f"benchmark {row.name!r} is generated and has no files; omit --data-root")
        return row.images(**options)

    def refuse_segmentation_settings(self) -> None:
        """Rejects segmentation settings, for other tasks.

        Raises:
            ValueError: ``threshold``, ``panels`` or ``presence`` is set.
        """
        if self.threshold is not None:
            raise ValueError("--threshold is only supported for segmentation")
        if self.options.presence:
            raise ValueError("--presence is only supported for segmentation")
        if self.panels:
            raise ValueError("--panels is only supported for segmentation; use --save-predictions")


def split_overrides(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separates overrides of the method from those of the test set, ``data.NAME``."""
    method = {name: value for name, value in options.items() if not name.startswith(DATA_PREFIX)}
    data = {name.removeprefix(DATA_PREFIX): options[name] for name in options if name not in method}
    return method, data
