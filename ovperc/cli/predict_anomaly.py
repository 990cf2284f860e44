"""The command line of anomaly localization: folders in; heat pictures, maps and one table of scores out."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.cli.common import (
    EXIT_OK,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    add_file_arguments,
    add_model_arguments,
    complain,
    model_options,
    plain_warnings,
    staged_directory,
    stop_on_terminate,
)
from ovperc.core.progress import progress_bar

if TYPE_CHECKING:
    from ovperc.io.images import ImageSource
    from ovperc.tasks.anomaly.prediction import AnomalyPrediction
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor

EXAMPLE = (
    'example: python demo/image_demo.py --task anomaly parts/ --object "metal nut" --normal good/ --fpr 0.05 --out out'
)
TABLE = "scores.csv"
COLUMNS = ("image", "score", "anomalous", "threshold", "regions", "anomalous_px", "largest_box", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_file_arguments(parser, f"{TABLE}; and STEM_heat.png, STEM.png (16-bit map) and STEM.json of each image")
    parser.add_argument(
        "--object",
        default="object",
        metavar="NAME",
        help='what the images show, such as "metal nut"; learned prompts and patch memory work without',
    )
    parser.add_argument(
        "--normal",
        metavar="FOLDER",
        help="flawless images: few-shot methods remember them, and all take their threshold from them",
    )
    parser.add_argument(
        "--fpr", type=float, default=0.05, help="share of flawless images that may be called anomalous (with --normal)"
    )
    parser.add_argument("--threshold", type=float, metavar="X", help="image score from which an image is anomalous")
    parser.add_argument("--pixel-threshold", type=float, metavar="X", help="map value from which a pixel is")
    parser.add_argument("--min-area", type=int, default=1, metavar="PX", help="smallest region (default: %(default)s)")
    parser.add_argument("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of the colours, fixed for all")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the method")
    add_model_arguments(parser)
    parser.set_defaults(method="anomalyclip", weights=None)


def run(arguments: argparse.Namespace) -> int:
    """Looks through the images; 0: all are written, 1: some failed (each is named on stderr), 2: nothing started."""
    try:
        with plain_warnings():
            predictor = _predictor(arguments)
            predictor.check(arguments.object)
        arguments.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, OSError, ImportError) as error:
        complain(error)
        return EXIT_USAGE
    sources = list(_sources(arguments.images, arguments.recursive))
    rows: list[Mapping[str, Any]] = []
    with stop_on_terminate(), progress_bar(arguments.quiet) as bar:
        task = bar.add_task("looking", total=len(sources))
        for source in sources:
            rows.append(_look(predictor, source, arguments))
            bar.advance(task)
        _write_table(rows, arguments.out)
    return EXIT_SOME_FAILED if any(row["error"] for row in rows) else EXIT_OK


def _predictor(arguments: argparse.Namespace) -> AnomalyPredictor:
    from ovperc.core.config_files import parse_overrides
    from ovperc.tasks.load import load

    options = model_options(arguments)
    predictor = load(options.pop("name"), **options, **parse_overrides(arguments.set))
    if not hasattr(predictor, "with_thresholds"):
        raise ValueError(
            f"{arguments.method!r} is no method of anomaly localization; see ovperc.list_methods('anomaly')"
        )
    if arguments.normal is not None:
        predictor = predictor.learn_normal(arguments.normal, arguments.object, fpr=arguments.fpr)
        if predictor.calibration.note:
            import warnings

            warnings.warn(predictor.calibration.note, stacklevel=2)
    if arguments.threshold is not None or arguments.pixel_threshold is not None:
        predictor = predictor.with_thresholds(arguments.threshold, arguments.pixel_threshold)
    return predictor


def _sources(images: Sequence[str], recursive: bool) -> Iterator[ImageSource]:
    """Every image of all arguments; a folder without images is one that fails at its load."""
    from ovperc.io.images import ImageError, expand_sources, list_images

    paths: list[str | Path] = []
    for image in images:
        folder = Path(image).expanduser()
        try:
            paths += list_images(folder, recursive) if folder.is_dir() else [image]
        except ImageError:
            paths.append(image)
    yield from expand_sources(iter(_as_files(paths)))


def _as_files(paths: Sequence[str | Path]) -> Iterator[Any]:
    """Paths as they are; folders, which held no image, as sources that say so."""
    from ovperc.io.images import ImageSource, read_image

    for path in paths:
        if Path(path).expanduser().is_dir():
            yield ImageSource(str(path), "folder", lambda path=path: read_image(path))
        else:
            yield path


def _look(predictor: AnomalyPredictor, source: ImageSource, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Predicts and writes one image; its row of the table."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"image": source.name}
    try:
        image = source.load()
        prediction = predictor.predict(image, arguments.object, min_area_px=arguments.min_area, source=source.name)
        with staged_directory(arguments.out) as folder:
            prediction.save(folder / f"{source.stem}.png")
            prediction.draw(image, arguments.scale).save(folder / f"{source.stem}_heat.png")
    except (ValueError, TypeError, OSError) as error:
        complain(error if source.name in str(error) else f"{source.name}: {error}")
        return row | {"error": str(error)}
    if not arguments.quiet:
        print(f"{source.name} -> {prediction.image_score:.4f} {_verdict(prediction)}".rstrip())
    return row | _facts(prediction)


def _verdict(prediction: AnomalyPrediction) -> str:
    return {None: "", True: "anomalous", False: "normal"}[prediction.is_anomalous]


def _facts(prediction: AnomalyPrediction) -> dict[str, Any]:
    threshold = prediction.calibration.image_threshold
    largest = max(prediction.regions, key=lambda region: region.area_px, default=None)
    return {
        "score": f"{prediction.image_score:.6f}",
        "anomalous": "" if prediction.is_anomalous is None else int(prediction.is_anomalous),
        "threshold": "" if threshold is None else f"{threshold:.6f}",
        "regions": len(prediction.regions),
        "anomalous_px": prediction.anomalous_px,
        "largest_box": "" if largest is None else " ".join(map(str, largest.box)),
    }


def _write_table(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    from ovperc.core.atomic import atomic_write

    with atomic_write(out / TABLE) as (temporary,), temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
