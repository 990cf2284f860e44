"""Anomaly localization as an entry of the task table."""

from __future__ import annotations

import argparse
import warnings
from typing import TYPE_CHECKING

from ovperc.tasks.task import LoadOptions, PredictRequest, Task

if TYPE_CHECKING:
    from ovperc.tasks.anomaly.method import AnomalyMethod
    from ovperc.tasks.anomaly.prediction import AnomalyPrediction
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor
    from ovperc.tasks.methods import MethodConfig

_FPR = 0.05


class Anomaly(Task):
    """Anomaly localization on a named object."""

    name = "anomaly"
    title = "where an object is anomalous"
    verb = "inspecting"
    picture = "heat"

    def method_class(self) -> type[AnomalyMethod]:
        """Configuration class of its methods."""
        from ovperc.tasks.anomaly.method import AnomalyMethod

        return AnomalyMethod

    def prediction_class(self) -> type[AnomalyPrediction]:
        """Prediction class of the task."""
        from ovperc.tasks.anomaly.prediction import AnomalyPrediction

        return AnomalyPrediction

    def load(self, config: MethodConfig, options: LoadOptions) -> AnomalyPredictor:
        """Loads a method of the task."""
        from ovperc.tasks.anomaly.load import load_anomaly

        return load_anomaly(config, options)

    def add_arguments(self, group: argparse._ArgumentGroup) -> None:
        """Adds the object, its normal images, and thresholds."""
        group.add_argument(
            "--object",
            metavar="NAME",
            help='name of the object, such as "metal nut"; optional for learned prompts and patch memory',
        )
        group.add_argument(
            "--normal",
            metavar="DIR",
            help="normal images, used to fit few-shot methods and to choose thresholds",
        )
        group.add_argument(
            "--fpr", type=float, metavar="F", help=f"with --normal: accepted false-positive rate (default: {_FPR})"
        )
        group.add_argument("--threshold", type=float, metavar="X", help="threshold of the image score")
        group.add_argument("--pixel-threshold", type=float, metavar="X", help="threshold of the anomaly map")
        group.add_argument("--min-area", type=int, metavar="PX", help="minimum area of a region (default: 1)")
        group.add_argument("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of the colours")

    def request(self, predictor: AnomalyPredictor, arguments: argparse.Namespace) -> PredictRequest:
        """Fits or calibrates the predictor with normal images and thresholds."""
        from ovperc.tasks.anomaly.predictor import ANY_OBJECT

        name = ANY_OBJECT if arguments.object is None else arguments.object
        if arguments.normal is not None:
            fpr = _FPR if arguments.fpr is None else arguments.fpr
            predictor = predictor.learn_normal(arguments.normal, name, fpr=fpr)
            if predictor.calibration.note:
                warnings.warn(predictor.calibration.note, stacklevel=2)
        elif arguments.fpr is not None:
            raise ValueError("--fpr chooses a threshold from normal images; pass them with --normal DIR")
        if arguments.threshold is not None or arguments.pixel_threshold is not None:
            predictor = predictor.with_thresholds(arguments.threshold, arguments.pixel_threshold)
        predictor.query(name)
        options = {} if arguments.min_area is None else {"min_area_px": arguments.min_area}
        return PredictRequest(predictor, name, options, {} if arguments.scale is None else {"scale": arguments.scale})
