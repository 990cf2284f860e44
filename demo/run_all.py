"""``make demo``: segmentation, detection and anomaly localization on photographs and generated scenes.

Runs offline on the bundled weights: photo-mini on photographs, clip-mini on the procedural world. Choose others with
``--method``, ``--weights`` and ``--arch``; only photographs are segmented then, because the heads of the other tasks
belong to the bundled weights.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ovperc.cli.exits import run_to_exit_code
from ovperc.cli.options import Parser, add_model_options, load_predictor
from ovperc.core.atomic import staged_directory

if TYPE_CHECKING:
    from pictures import DemoPicture

    from ovperc.tasks.segmentation.prediction import SegPrediction
    from ovperc.tasks.segmentation.predictor import SegPredictor


def segment(predictor: SegPredictor, picture: DemoPicture, out: Path) -> SegPrediction:
    """Segments an image, writes its files and prints a summary."""
    from ovperc.text.vocabulary import Vocabulary

    started = time.perf_counter()
    encoded = predictor.encode(picture.image)
    encode_s = time.perf_counter() - started
    vocabulary = Vocabulary.parse(list(picture.words))
    predictor.bank(vocabulary)
    started = time.perf_counter()
    prediction = predictor.predict_encoded(encoded, vocabulary, source=picture.name)
    ask_s = time.perf_counter() - started
    with staged_directory(out) as folder:
        prediction.save(folder / f"{picture.name}.png")
        prediction.draw(picture.image, side_by_side=True).save(folder / f"{picture.name}_overlay.png")
    height, width = prediction.size_hw
    print(f"\n{picture.title}, {height} x {width} px")
    print(f"  {summary(prediction, picture)}")
    print(f"  image encoded in {1000 * encode_s:.0f} ms, vocabulary scored in {1000 * ask_s:.1f} ms")
    print(f"  {out / picture.name}.png, .json, _overlay.png")
    return prediction


def summary(prediction: SegPrediction, picture: DemoPicture) -> str:
    """Area of each class, and the pixel accuracy if the ground truth is known."""
    shares = sorted(prediction.areas().items(), key=lambda item: -item[1])
    text = ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= 0.005)
    if picture.truth is None:
        return text
    known = picture.truth < len(picture.words)
    right = (prediction.labels == picture.truth)[known].mean()
    return f"{text}; {right:.0%} of the pixels are correct"


def run(arguments: argparse.Namespace) -> None:
    """Runs the demo."""
    from contact_sheet import Cell, contact_sheet
    from other_tasks import detect, find_anomalies
    from pictures import photographs, world_pictures

    import ovperc

    sets = [(load_predictor(arguments), photographs())]
    if arguments.weights is None:
        sets.append((ovperc.load("clip_surgery", "clip-mini"), world_pictures()))
    cells = []
    for predictor, pictures in sets:
        print(f"\nmethod {predictor.info.method}, weights {predictor.info.weights}, on {predictor.info.device}")
        shown = [(picture, segment(predictor, picture, arguments.out)) for picture in pictures]
        cells += [Cell(picture.title, picture.image, prediction) for picture, prediction in shown]
    with staged_directory(arguments.out) as folder:
        contact_sheet(cells).save(folder / "demo.png", optimize=True)
    print(f"\ncontact sheet: {arguments.out / 'demo.png'}")
    if arguments.weights is None:
        detect(arguments.out)
        find_anomalies(arguments.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo from the command line."""
    parser = Parser(description=__doc__, epilog="example: python demo/run_all.py --method sclip")
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), metavar="DIR", help="default: %(default)s")
    add_model_options(parser)
    return run_to_exit_code(lambda: run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
