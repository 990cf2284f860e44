"""The command line of detection: images and words in; a picture and a COCO document of each image out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ovperc.cli import predict_segmentation
from ovperc.cli.predict_segmentation import ask_words
from ovperc.core.atomic import staged_directory

if TYPE_CHECKING:
    from ovperc.tasks.predictor import ImageResult


def add_arguments(group: Any) -> None:
    """Adds the arguments of the task."""
    predict_segmentation.add_arguments(group)
    group.add_argument(
        "--min-score", type=float, default=0.1, metavar="S", help="objects below it are left out (default: %(default)s)"
    )
    group.add_argument("--labelme", action="store_true", help="also writes STEM_labelme.json")


def run(arguments: argparse.Namespace) -> int:
    """Finds the objects; 0: all are written, 1: some failed (each is named on stderr), 2: nothing could start."""
    from ovperc.tasks.detection.predictor import DetPredictor

    def check(predictor: object) -> None:
        if not isinstance(predictor, DetPredictor):
            raise ValueError(f"{arguments.method} is no method of detection; use one such as fvlm or sam_regions")

    return ask_words(arguments, "finding objects", _write, check)


def _write(outcome: ImageResult, arguments: argparse.Namespace) -> str:
    """Writes what belongs to one image, all of it or nothing; the line that tells of it."""
    if outcome.error is not None:
        raise outcome.error
    stem = outcome.source.stem
    prediction = outcome.prediction.above(arguments.min_score)
    with staged_directory(arguments.out) as folder:
        prediction.save(folder / f"{stem}.json", labelme=arguments.labelme)
        prediction.draw(outcome.image).save(folder / f"{stem}_detections.png")
        names = sorted(file.name for file in folder.iterdir())
    listed = ", ".join(f"{count} {name}" for name, count in prediction.counts().items() if count) or "nothing"
    return f"{outcome.source.name}: {listed} -> {', '.join(str(arguments.out / name) for name in names)}"
