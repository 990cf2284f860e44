"""What an evaluation runs and how, the same for every task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.core.config_files import find_config
from ovperc.data.benchmark import Benchmark

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig

DATA_PREFIX = "data."


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
    """How a test set is run through.

    Attributes:
        num_workers: processes that make or read images.
        launcher: ``none``, or ``pytorch`` under torchrun.
        shard: the part of the images that this run scores.
        presence: absent classes that each image is asked for too (segmentation); 0 leaves the protocol out.
        save_every_s: seconds between two parts of the store.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    num_workers: int = 0
    launcher: str = "none"
    shard: Shard = Shard()
    presence: int = 0
    save_every_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("num_workers", "presence", "save_every_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")


@dataclass(frozen=True)
class EvaluationRequest:
    """One method on one benchmark.

    Attributes:
        method: name or file of a method config.
        weights, arch, device, dtype: as for ``ovperc.load``.
        overrides: of the method (``readout.residual=False``), or of the test set (``data.seed=1``).
        data_root: the data set's folder, or the folder of all; ``None`` takes ``$OVPERC_DATA``.
        allow_partial: score what is there of an incomplete copy.
        threshold: replaces the published background threshold (segmentation).
        limit: only the first images; of anomaly sets about so many, evenly from all categories.
        panels: images with the lowest mIoU in ``report.html``; 0 writes no report (segmentation).
        save_predictions: a folder for the predictions; ``True`` is one in the work dir.
        options: processes, shard, presence protocol.
        work_dir: for results; ``work_dirs/METHOD_BENCHMARK`` by default.
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

    @property
    def method_name(self) -> str:
        """Name of the method: the stem of its config file.

        Raises:
            FileNotFoundError: no such method; near matches are offered.
        """
        return find_config(self.method, "methods").stem

    def load(self, config: MethodConfig | None = None) -> Any:
        """The predictor of the method, or of a config of it that was read before."""
        from ovperc.tasks.load import load

        return load(config or self.method, self.weights, self.arch, device=self.device, dtype=self.dtype)

    def folder(self, row: Benchmark) -> Path:
        """The work dir on a benchmark."""
        return Path(self.work_dir or Path("work_dirs") / f"{self.method_name}_{row.name}")

    def saved_in(self, folder: Path) -> Path | None:
        """Where predictions go, ``folder`` where no other is named; None where they are not kept."""
        if not self.save_predictions:
            return None
        return folder if self.save_predictions is True else Path(self.save_predictions)

    def images(self, row: Benchmark, options: Mapping[str, Any]) -> Any:
        """A benchmark's images, with options replaced.

        Raises:
            LayoutError: the data is not there, or incomplete.
            ValueError: a data root for a benchmark that has no files.
        """
        if row.needs_data:
            root = None if self.data_root is None else str(self.data_root)
            return row.images(**{"root": root, "partial": self.allow_partial, **options})
        if self.data_root is not None:
            raise ValueError(f"benchmark {row.name!r} is generated and has no files; leave out --data-root")
        return row.images(**options)

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
