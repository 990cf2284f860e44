"""The command line of anomaly localization: folders in; heat pictures, maps and one table of scores out."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.cli.exits import ExitCode, complain
from ovperc.cli.options import load_predictor
from ovperc.core.atomic import staged_directory
from ovperc.core.progress import progress_bar

if TYPE_CHECKING:
    from ovperc.io.images import ImageSource
    from ovperc.tasks.anomaly.prediction import AnomalyPrediction
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor

TABLE = "scores.csv"
COLUMNS = ("image", "score", "anomalous", "threshold", "regions", "anomalous_px", "largest_box", "error")


def add_arguments(group: Any) -> None:
    """Adds the arguments of the task."""
    group.add_argument(
        "--object",
        default="object",
        metavar="NAME",
        help='what the images show, such as "metal nut"; learned prompts and patch memory work without',
    )
    group.add_argument(
        "--normal",
        metavar="FOLDER",
        help="normal images: few-shot methods remember them, and all take their threshold from them",
    )
    group.add_argument(
        "--fpr", type=float, default=0.05, help="share of normal images that may be called anomalous (with --normal)"
    )
    group.add_argument("--threshold", type=float, metavar="X", help="image score from which an image is anomalous")
    group.add_argument("--pixel-threshold", type=float, metavar="X", help="map value from which a pixel is")
    group.add_argument("--min-area", type=int, default=1, metavar="PX", help="smallest region (default: %(default)s)")
    group.add_argument("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of the colours, fixed for all")


def run(arguments: argparse.Namespace) -> int:
    """Looks through the images; 0: all are written, 1: some failed (each is named on stderr), 2: nothing started."""
    predictor = _predictor(arguments)
    predictor.query(arguments.object)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sources = list(_sources(arguments.images, arguments.recursive))
    rows: list[Mapping[str, Any]] = []
    with progress_bar(arguments.quiet) as bar:
        task = bar.add_task("looking", total=len(sources))
        for source in sources:
            rows.append(_look(predictor, source, arguments))
            bar.advance(task)
        _write_table(rows, arguments.out)
    return ExitCode.SOME_FAILED if any(row["error"] for row in rows) else ExitCode.DONE


def _predictor(arguments: argparse.Namespace) -> AnomalyPredictor:
    predictor = load_predictor(arguments)
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
