"""What a task adds to an evaluation run: how images are scored, and how stored results become figures."""

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
    """What a run has opened.

    Attributes:
        request: what to run.
        row: the benchmark.
        images: its images.
        predictor: of the method.
        method: its settings, a dataclass of its task.
        overrides: the user's, without those of the test set.
    """

    request: EvaluationRequest
    row: Any
    images: Any
    predictor: Any
    method: Any
    overrides: Mapping[str, Any]

    @property
    def predictions(self) -> Path | None:
        """Folder for predictions; None where they are not kept."""
        return self.request.saved_in(self.request.folder(self.row) / "predictions")


@dataclass(frozen=True)
class EvaluationScores:
    """The figures of a run.

    Attributes:
        metrics: name -> value, in percent.
        details: further figures, such as those by class.
        settings: what readers of the summary have to know, beside the settings of every run.
        counts: what the figures rest on, for the task's own report.
    """

    metrics: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts: Any = None


class TaskEvaluation(ABC):
    """A method on the images of one benchmark.

    Attributes:
        any_task: whether methods of other tasks than the benchmark's may be scored.
        titles: figure -> its title in the model table, in their order.
        headline: the figure by which methods are sorted and compared over benchmarks; empty for none.
        images: the test set.
        predictor: the method.
        decisive: further settings that decide the results; runs that differ in them do not share results.
        batch_size: images scored together; changes no result.
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
        """What of the user's overrides, and of published settings, goes to the method."""
        return dict(overrides)

    @classmethod
    def check(cls, request: EvaluationRequest) -> None:
        """Refuses settings that would change nothing, before anything is loaded.

        Raises:
            ValueError: a setting that this task does not have.
        """
        request.refuse_segmentation_settings()

    @classmethod
    @abstractmethod
    def of(cls, inputs: EvaluationInputs) -> TaskEvaluation:
        """The evaluation of a predictor.

        Raises:
            ValueError: the predictor does not fit the benchmark.
        """

    def select(self, limit: int | None) -> Sequence[int]:
        """Indices of all images, or of the first ``limit``."""
        return range(len(self.images) if limit is None else min(limit, len(self.images)))

    def group_of(self, index: int) -> int:
        """Images of one group are scored one after the other; a batch never holds images of two groups."""
        return 0

    @abstractmethod
    def scorer_of(self, group: int) -> Scorer:
        """Scores batches of a group's annotated images: their results, in order."""

    @abstractmethod
    def summarise(self, store: PartStore, indices: Sequence[int]) -> EvaluationScores:
        """Figures of the images with stored results; every process of a run calls it and gets the same."""

    @abstractmethod
    def write_reports(
        self, work_dir: Path, summary: RunSummary, scores: EvaluationScores, store: PartStore, indices: Sequence[int]
    ) -> None:
        """Writes reports and, where the request says so, predictions; the main process calls it."""
