"""Base class of task evaluations, which score images and compute metrics from stored results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ovperc.core.summary import RunSummary
from ovperc.data.benchmark import Benchmark
from ovperc.evaluation.request import EvaluationRequest
from ovperc.evaluation.store import PartStore, StoredResult

if TYPE_CHECKING:
    from ovperc.tasks.predictor import PredictorInfo


Scorer = Callable[[Sequence[Any]], Iterable[StoredResult]]


@dataclass(frozen=True)
class EvaluationInputs:
    """Context of an evaluation run.

    Attributes:
        request: the evaluation request.
        row: the benchmark.
        images: its images.
        predictor: predictor of the method.
        method: method settings, a dataclass of the task.
        overrides: user settings, without those of the test set.
    """

    request: EvaluationRequest
    row: Any
    images: Any
    predictor: Any
    method: Any
    overrides: Mapping[str, Any]

    @property
    def predictions(self) -> Path | None:
        """Folder for predictions; None to discard them."""
        return self.request.saved_in(self.request.folder(self.row) / "predictions")


@dataclass(frozen=True)
class EvaluationScores:
    """The metrics of a run.

    Attributes:
        metrics: name -> value, in percent.
        details: further results, such as those per class.
        settings: task-specific settings for the summary.
        counts: underlying counts, for the task's report.
    """

    metrics: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts: Any = None


class TaskEvaluation(ABC):
    """A method on the images of a benchmark.

    Attributes:
        any_task: whether methods of other tasks may be evaluated.
        titles: figure -> its title in the model table, in their order.
        headline: main metric, by which methods are sorted and compared; empty for none.
        images: the test set.
        predictor: the method.
        decisive: further settings that determine results; runs that differ in them do not share results.
        batch_size: batch size; does not affect results.
    """

    any_task: ClassVar[bool] = False
    titles: ClassVar[Mapping[str, str]] = {}
    headline: ClassVar[str] = ""
    images: Any
    predictor: Any
    decisive: Mapping[str, Any]
    batch_size: int = 1

    @property
    def info(self) -> PredictorInfo:
        """Of the predictor."""
        return self.predictor.info

    @classmethod
    def method_overrides(cls, row: Benchmark, method: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Overrides for the method, from the user and from published settings."""
        return dict(overrides)

    @classmethod
    def check(cls, request: EvaluationRequest) -> None:
        """Rejects unsupported settings before anything is loaded.

        Raises:
            ValueError: a setting is not supported by the task.
        """
        request.refuse_segmentation_settings()

    @classmethod
    @abstractmethod
    def of(cls, inputs: EvaluationInputs) -> TaskEvaluation:
        """Creates the evaluation of a predictor.

        Raises:
            ValueError: the predictor does not suit the benchmark.
        """

    def select(self, limit: int | None) -> Sequence[int]:
        """Indices of all images, or of the first ``limit``."""
        return range(len(self.images) if limit is None else min(limit, len(self.images)))

    def group_of(self, index: int) -> int:
        """Group of an image; groups are scored one after another, and batches do not mix groups."""
        return 0

    @abstractmethod
    def scorer_of(self, group: int) -> Scorer:
        """Scores batches of a group's annotated images, in order."""

    @abstractmethod
    def summarise(self, store: PartStore, indices: Sequence[int]) -> EvaluationScores:
        """Metrics of the stored images; called by all processes of a run, with the same result."""

    @abstractmethod
    def write_reports(
        self, work_dir: Path, summary: RunSummary, scores: EvaluationScores, store: PartStore, indices: Sequence[int]
    ) -> None:
        """Writes reports and, if requested, predictions; called by the main process only."""
