"""The ``predict`` verb: images and words in; overlay, label map and legend of each image out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
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
    run_until_interrupted,
    staged_directory,
    stop_on_terminate,
)
from ovperc.core.progress import progress_bar
from ovperc.tasks.table import DEFAULT_TASK, TASKS, Task, get_task

if TYPE_CHECKING:
    from ovperc.tasks.segmentation.predictor import ImageResult
    from ovperc.text.vocabulary import Vocabulary

EXAMPLE = 'example: python demo/image_demo.py photo.jpg folder/ --words "red star, grass|lawn" --out out'
OUTPUTS = "STEM_overlay.png (to look at), STEM.png (16-bit labels) and STEM.json (legend)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_file_arguments(parser, f"{OUTPUTS} of each image")
    parser.add_argument(
        "--words",
        required=True,
        metavar="WORDS",
        help="classes with commas between, synonyms with | between; or a .json, .yaml or .txt file",
    )
    parser.add_argument(
        "--background",
        metavar="POLICY",
        help="words of an explicit background, or the confidence below which a pixel is background, or both: "
        "'0.3, sky, wall' (default: every pixel gets one of the words)",
    )
    add_model_arguments(parser)


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
    from ovperc.tasks.load import load

    try:
        predictor = load(**model_options(arguments), background=arguments.background)
        check(predictor)
        vocabulary = predictor.vocabulary(arguments.words)
        with plain_warnings():
            predictor.bank(vocabulary)  # words that do not fit the model are found before the first image
        arguments.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, OSError, ImportError) as error:
        complain(error)
        return EXIT_USAGE
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
    with stop_on_terminate(), progress_bar(arguments.quiet) as bar:
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
    return EXIT_SOME_FAILED if failed else EXIT_OK


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


def _task(name: str) -> Task:
    try:
        return get_task(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb by itself, as ``demo/image_demo.py``; ``--task`` chooses whose arguments it takes."""
    chooser = argparse.ArgumentParser(add_help=False)
    chooser.add_argument(
        "--task",
        type=_task,
        default=get_task(DEFAULT_TASK),
        metavar="TASK",
        help=f"what to find out: {', '.join(TASKS)}, or the beginning of one (default: {DEFAULT_TASK})",
    )
    chosen, rest = chooser.parse_known_args(argv)
    task = chosen.task
    cli = task.place("cli")
    parser = argparse.ArgumentParser(
        prog=Path(sys.argv[0]).name, description=f"Says {task.title}.", epilog=cli.EXAMPLE, parents=[chooser]
    )
    cli.add_arguments(parser)
    return run_until_interrupted(cli.run, parser.parse_args(rest))


if __name__ == "__main__":
    sys.exit(main())
