"""The contract of a task: everything about it that differs from the other tasks, behind one object."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch

    from ovperc.tasks.method import Method
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.prediction import Prediction
    from ovperc.tasks.predictor import Predictor
    from ovperc.text.vocabulary import BackgroundLike


@dataclass(frozen=True)
class LoadOptions:
    """Where and on what a method is loaded; see :func:`ovperc.load`.

    Attributes:
        device: where it computes.
        dtype: of the towers' weights.
        weights: name, file or None for the method's default.
        arch: architecture, where the weights do not tell it.
        background: policy for vocabularies that bring none of their own.
        as_published: leave out what the tower's overlay changes.
    """

    device: torch.device
    dtype: torch.dtype
    weights: str | Path | None = None
    arch: str | None = None
    background: BackgroundLike = None
    as_published: bool = False


@dataclass(frozen=True)
class PredictRequest:
    """A command line's question, checked before the first image.

    Attributes:
        predictor: ready to predict.
        words: vocabulary, or the name of the inspected object.
        predict: keywords of ``predictor.predict_each``.
        draw: keywords of ``prediction.draw``.
    """

    predictor: Predictor
    words: Any
    predict: Mapping[str, Any] = field(default_factory=dict)
    draw: Mapping[str, Any] = field(default_factory=dict)


class Task(ABC):
    """One task; rows of :data:`ovperc.tasks.table.TASKS`.

    Towers, taps, text and tiling are shared. Importing a task is cheap: methods, predictors and models are imported
    when they are used.

    Attributes:
        name: in method configs, benchmarks and exported folders.
        title: what it answers.
        verb: of its progress bar, such as ``"segmenting"``.
        picture: ending of the picture that ``ovperc predict`` draws: ``STEM_overlay.png``.
        saved: endings of the files that predictions are saved as.
        extends: task whose methods those of this task extend, so that what towers change in them holds here too; empty
            for none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    verb: ClassVar[str]
    picture: ClassVar[str]
    saved: ClassVar[tuple[str, ...]] = (".png", ".json")
    extends: ClassVar[str] = ""

    @abstractmethod
    def method_class(self) -> type[Method]:
        """Dataclass of its methods."""

    @abstractmethod
    def prediction_class(self) -> type[Prediction]:
        """What its predictors return."""

    @abstractmethod
    def load(self, config: MethodConfig, options: LoadOptions) -> Predictor:
        """Loads a method of the task; :func:`ovperc.load` is the way in."""

    @abstractmethod
    def add_arguments(self, group: argparse._ArgumentGroup) -> None:
        """Adds the arguments of ``ovperc predict`` that only this task has; defaults are None or False."""

    @abstractmethod
    def request(self, predictor: Predictor, arguments: argparse.Namespace) -> PredictRequest:
        """What the command line asks for.

        Raises:
            ValueError: a required argument is missing, or one does not fit the method.
        """

    def keep(self, prediction: Any, arguments: argparse.Namespace) -> Any:
        """What of a prediction is written; everything, where the task does not say otherwise."""
        return prediction


def add_vocabulary_arguments(group: argparse._ArgumentGroup) -> None:
    """Adds the arguments of tasks that take a vocabulary."""
    group.add_argument(
        "--words",
        metavar="WORDS",
        help="classes with commas between, synonyms with | between; or a .json, .yaml or .txt file",
    )
    group.add_argument(
        "--background",
        metavar="POLICY",
        help="words of what is background, or the confidence below which a pixel or box is, or both: '0.3, sky, wall'",
    )


def required(arguments: argparse.Namespace, name: str, task: Task) -> Any:
    """An argument that a task cannot do without.

    Raises:
        ValueError: it was left out.
    """
    value = getattr(arguments, name)
    if value is None:
        raise ValueError(f"{task.name} needs --{name.replace('_', '-')}; see ovperc predict --help")
    return value
