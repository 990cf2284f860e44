"""The ``predict`` verb: images and words in; overlay, label map and legend of each image out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.cli.exits import ExitCode, UsageError, complain
from ovperc.cli.options import load_predictor
from ovperc.core.atomic import staged_directory
from ovperc.core.progress import progress_bar

if TYPE_CHECKING:
    from ovperc.tasks.predictor import ImageResult
    from ovperc.text.vocabulary import Vocabulary


def add_arguments(group: Any) -> None:
    """Adds the arguments of the task."""
    group.add_argument(
        "--words",
        metavar="WORDS",
        help="classes with commas between, synonyms with | between; or a .json, .yaml or .txt file",
    )
    group.add_argument(
        "--background",
        metavar="POLICY",
        help="words of an explicit background, or the confidence below which a pixel or box is background, or both: "
        "'0.3, sky, wall'",
    )


def run(arguments: argparse.Namespace) -> int:
    """Segments the images; 0: all are written, 1: some failed (each is named on stderr), 2: nothing could start."""
    return ask_words(arguments, "segmenting", _write)


def ask_words(
    arguments: argparse.Namespace,
    title: str,
    write: Callable[[ImageResult, argparse.Namespace], str],
    check: Callable[[Any], None] = lambda predictor: None,
) -> int:
    """Loads a predictor and asks the words of every image; the exit status, 2 where nothing could start.

    Args:
        arguments: of the command line.
        title: of the progress bar.
        write: writes what belongs to one image and gives the line that tells of it.
        check: raises ValueError for a predictor of another task.
    """
    if arguments.words is None:
        raise UsageError("--words is required: name what to look for")
    predictor = load_predictor(arguments, background=arguments.background)
    check(predictor)
    vocabulary = predictor.vocabulary(arguments.words)
    predictor.bank(vocabulary)  # words that do not fit the model are found before the first image
    arguments.out.mkdir(parents=True, exist_ok=True)
    return _write_each(predictor, vocabulary, arguments, title, write)


def _write_each(
    predictor: Any,
    vocabulary: Vocabulary,
    arguments: argparse.Namespace,
    title: str,
    write: Callable[[ImageResult, argparse.Namespace], str],
) -> int:
    """Predicts and writes one image after the other; 0, or 1 if some failed (each is named on stderr).

    Args:
        predictor: with ``predict_each``.
        vocabulary: the words.
        arguments: ``images``, ``recursive`` and ``quiet`` of the command line.
        title: of the progress bar.
        write: writes what belongs to one image and gives the line that tells of it.
    """
    paths, failed = _readable(arguments.images, arguments.recursive)
    with progress_bar(arguments.quiet) as bar:
        task = bar.add_task(title, total=len(paths))
        for outcome in predictor.predict_each(paths, vocabulary):
            try:
                line = write(outcome, arguments)
            except (ValueError, OSError) as error:
                failed += 1
                complain(error if outcome.source.name in str(error) else f"{outcome.source.name}: {error}")
            else:
                if not arguments.quiet:
                    print(line)
            bar.advance(task)
    return ExitCode.SOME_FAILED if failed else ExitCode.DONE


def _readable(images: Sequence[str], recursive: bool) -> tuple[list[str | Path], int]:
    """Files and addresses of all arguments, and how many folders failed (each is named on stderr)."""
    from ovperc.io.images import ImageError, list_images

    paths: list[str | Path] = []
    failed = 0
    for image in images:
        folder = Path(image).expanduser()
        try:
            paths += list_images(folder, recursive) if folder.is_dir() else [image]
        except ImageError as error:
            failed += 1
            complain(error)
    return paths, failed


def _write(outcome: ImageResult, arguments: argparse.Namespace) -> str:
    """Writes what belongs to one image, all of it or nothing; the line that tells of it."""
    if outcome.error is not None:
        raise outcome.error
    stem, out = outcome.source.stem, arguments.out
    with staged_directory(out) as folder:
        outcome.prediction.save(folder / f"{stem}.png")
        outcome.prediction.draw(outcome.image).save(folder / f"{stem}_overlay.png")
        names = sorted(file.name for file in folder.iterdir())
    return f"{outcome.source.name} -> {', '.join(str(out / name) for name in names)}"
