"""Panoptic segmentation as a row of the table of tasks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ovperc.tasks.task import LoadOptions, PredictRequest, Task, add_vocabulary_arguments, required

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.panoptic.method import PanopticMethod
    from ovperc.tasks.panoptic.prediction import PanopticPrediction
    from ovperc.tasks.panoptic.predictor import PanopticPredictor


class Panoptic(Task):
    """Instances of things and areas of stuff."""

    name = "panoptic"
    title = "instances of things and areas of stuff, a segment for each pixel"
    verb = "segmenting"
    picture = "panoptic"
    extends = "segmentation"

    def method_class(self) -> type[PanopticMethod]:
        """Dataclass of its methods."""
        from ovperc.tasks.panoptic.method import PanopticMethod

        return PanopticMethod

    def prediction_class(self) -> type[PanopticPrediction]:
        """What its predictors return."""
        from ovperc.tasks.panoptic.prediction import PanopticPrediction

        return PanopticPrediction

    def load(self, config: MethodConfig, options: LoadOptions) -> PanopticPredictor:
        """Loads a method of the task."""
        from ovperc.tasks.panoptic.load import load_panoptic

        return load_panoptic(config, options)

    def add_arguments(self, group: argparse._ArgumentGroup) -> None:
        """The vocabulary, and which of it is stuff."""
        add_vocabulary_arguments(group)
        group.add_argument(
            "--stuff",
            metavar="WORDS",
            help="classes without instances, in the form of --words; those not among --words are added",
        )

    def request(self, predictor: PanopticPredictor, arguments: argparse.Namespace) -> PredictRequest:
        """The vocabulary, embedded before the first image."""
        return PredictRequest(predictor, predictor.query(required(arguments, "words", self), stuff=arguments.stuff))
