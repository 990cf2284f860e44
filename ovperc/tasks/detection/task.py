"""Detection as a row of the table of tasks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ovperc.tasks.task import LoadOptions, PredictRequest, Task, add_vocabulary_arguments, required

if TYPE_CHECKING:
    from ovperc.tasks.detection.method import DetectionMethod
    from ovperc.tasks.detection.prediction import DetPrediction
    from ovperc.tasks.detection.predictor import DetPredictor
    from ovperc.tasks.methods import MethodConfig

_MIN_SCORE = 0.1


class Detection(Task):
    """Boxes and masks of the named objects."""

    name = "detection"
    title = "boxes and masks of the named objects"
    verb = "detecting"
    picture = "detections"
    saved = (".json",)

    def method_class(self) -> type[DetectionMethod]:
        """Dataclass of its methods."""
        from ovperc.tasks.detection.method import DetectionMethod

        return DetectionMethod

    def prediction_class(self) -> type[DetPrediction]:
        """What its predictors return."""
        from ovperc.tasks.detection.prediction import DetPrediction

        return DetPrediction

    def load(self, config: MethodConfig, options: LoadOptions) -> DetPredictor:
        """Loads a method of the task."""
        from ovperc.tasks.detection.load import load_detection

        return load_detection(config, options)

    def add_arguments(self, group: argparse._ArgumentGroup) -> None:
        """The vocabulary, and the score below which objects are left out."""
        add_vocabulary_arguments(group)
        group.add_argument(
            "--min-score", type=float, metavar="S", help=f"leave out objects with lower scores (default: {_MIN_SCORE})"
        )

    def request(self, predictor: DetPredictor, arguments: argparse.Namespace) -> PredictRequest:
        """The vocabulary, embedded before the first image."""
        return PredictRequest(predictor, predictor.query(required(arguments, "words", self)))

    def keep(self, prediction: DetPrediction, arguments: argparse.Namespace) -> DetPrediction:
        """Objects of at least ``--min-score``."""
        return prediction.above(_MIN_SCORE if arguments.min_score is None else arguments.min_score)
