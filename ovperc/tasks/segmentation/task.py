"""Segmentation as a row of the table of tasks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ovperc.tasks.task import LoadOptions, PredictRequest, Task, add_vocabulary_arguments, required

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.segmentation.method import SegMethod
    from ovperc.tasks.segmentation.prediction import SegPrediction
    from ovperc.tasks.segmentation.predictor import SegPredictor


class Segmentation(Task):
    """Which class of a vocabulary each pixel shows."""

    name = "segmentation"
    title = "which class each pixel shows"
    verb = "segmenting"
    picture = "overlay"

    def method_class(self) -> type[SegMethod]:
        """Dataclass of its methods."""
        from ovperc.tasks.segmentation.method import SegMethod

        return SegMethod

    def prediction_class(self) -> type[SegPrediction]:
        """What its predictors return."""
        from ovperc.tasks.segmentation.prediction import SegPrediction

        return SegPrediction

    def load(self, config: MethodConfig, options: LoadOptions) -> SegPredictor:
        """Loads a method of the task."""
        from ovperc.tasks.segmentation.load import load_segmentation

        return load_segmentation(config, options)

    def add_arguments(self, group: argparse._ArgumentGroup) -> None:
        """The vocabulary."""
        add_vocabulary_arguments(group)

    def request(self, predictor: SegPredictor, arguments: argparse.Namespace) -> PredictRequest:
        """The vocabulary, embedded before the first image."""
        return PredictRequest(predictor, predictor.query(required(arguments, "words", self)))
