"""The ``predict`` verb: runs a method on images and writes the results."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ovperc.cli.exits import ExitCode, UsageError, complain, say
from ovperc.cli.options import add_file_options, add_model_options, load_predictor
from ovperc.cli.task_options import TaskOptions, collect
from ovperc.core.atomic import remove_leftovers, staged_directory
from ovperc.core.progress import progress_bar
from ovperc.io.writers.base import OutputSettings
from ovperc.io.writers.table import FORMATS, choose_writers
from ovperc.tasks.table import TASKS

if TYPE_CHECKING:
    from ovperc.io.image_sources import ImageSource
    from ovperc.io.writers.base import Writer
    from ovperc.tasks.predictor import ImageResult
    from ovperc.tasks.task import PredictRequest, Task

DESCRIPTION = "Run a method on images. The method determines the task; 'ovperc info' lists the methods of each."
EXAMPLES = """examples:
  ovperc predict photo.jpg folder/ --words "red star, grass|lawn" --out out
  ovperc predict photo.jpg --method fvlm --words "red star, car|automobile" --out out --format coco,yolo
  ovperc predict photo.jpg --method panoptic_surgery --words "red star, car" --stuff "grass, sky" --out out
  ovperc predict parts/ --method anomalyclip --object "metal nut" --normal good/ --fpr 0.05 --out out
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_file_options(parser)
    parser.add_argument("--format", metavar="NAMES", help=_format_help())
    parser.add_argument("--overwrite", action="store_true", help="overwrite files in --out not written by ovperc")
    add_model_options(parser)
    task_options().add_to(parser)
    parser.add_argument("--task", action=_RefuseTask, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Runs the method on each image; returns 1 if an image or a folder failed."""
    from ovperc.io.output_plan import check_output_names
    from ovperc.tasks.methods import read_method

    task = TASKS[read_method(arguments.method, arguments.overrides).task]
    task_options().settle(arguments, task.name, arguments.method)
    writers = choose_writers(arguments.format, task.name, OutputSettings(task.saved, task.picture))
    sources, unreadable = find_images(arguments.images, arguments.recursive, arguments.out)
    check_output_names(arguments.out, sources, writers, arguments.overwrite)
    predictor = load_predictor(arguments, background=getattr(arguments, "background", None))
    request = task.request(predictor, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(arguments.out)
    return _Run(task, request, writers, arguments).over([*unreadable, *sources])


@dataclass(frozen=True)
class _Run:
    """A validated run: an image that fails is reported, and the run continues."""

    task: Task
    request: PredictRequest
    writers: Mapping[str, Writer]
    arguments: argparse.Namespace

    def over(self, sources: Sequence[ImageSource]) -> int:
        """Predicts and writes one image after another."""
        request, failed = self.request, 0
        try:
            with progress_bar(self.arguments.quiet) as bar:
                job = bar.add_task(self.task.verb, total=len(sources))
                for result in request.predictor.predict_each(sources, request.words, **request.predict):
                    failed += not self._write(result)
                    bar.advance(job)
        finally:
            with staged_directory(self.arguments.out) as folder:
                for writer in self.writers.values():
                    writer.finish(folder)
        return ExitCode.SOME_FAILED if failed else ExitCode.DONE

    def _write(self, result: ImageResult) -> bool:
        """Writes all files of an image, or none; returns whether they were written."""
        source = result.source
        try:
            if result.error is not None:
                raise result.error
            prediction = self.task.keep(result.prediction, self.arguments)
            files = self._write_files(source.stem, prediction, result.image)
        except (ValueError, TypeError, OSError) as error:
            complain(error if source.name in str(error) else f"{source.name}: {error}")
            for writer in self.writers.values():
                writer.record_failure(source.name, error)
            return False
        for writer in self.writers.values():
            writer.record(source.name, prediction)
        if not self.arguments.quiet:
            places = ", ".join(str(self.arguments.out / file) for file in files)
            say(f"{source.name} -> {places or self.arguments.out} ({prediction.summary()})")
        return True

    def _write_files(self, stem: str, prediction: Any, image: Any) -> list[str]:
        with staged_directory(self.arguments.out) as folder:
            for writer in self.writers.values():
                writer.write(folder, stem, prediction, lambda: prediction.draw(image, **self.request.draw))
            return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def find_images(images: Sequence[str], recursive: bool, out: Path) -> tuple[list[ImageSource], list[ImageSource]]:
    """Collects the images of the command line.

    Args:
        images: files, URLs and folders.
        recursive: whether subfolders are included.
        out: output folder; results of earlier runs in it are skipped.

    Returns:
        Images with distinct stems, and folders without images as sources whose load raises ImageError.
    """
    from ovperc.core.errors import ImageError
    from ovperc.io.image_sources import ImageSource, expand_sources, list_images
    from ovperc.io.output_plan import own_outputs

    paths: list[str | Path] = []
    unreadable = []
    for image in images:
        folder = Path(image).expanduser()
        if not folder.is_dir():
            paths.append(image)
            continue
        try:
            found = list_images(folder, recursive)
            skipped = own_outputs(out, found)
            paths += [path for path in found if path not in skipped]
        except ImageError as error:
            unreadable.append(ImageSource(str(folder), folder.name, _raiser(error)))
    return list(expand_sources(iter(paths))), unreadable


def _raiser(error: Exception) -> Callable[[], NoReturn]:
    def load() -> NoReturn:
        raise error

    return load


class _RefuseTask(argparse.Action):
    """Rejects ``--task``, which the method determines."""

    def __call__(self, *_: Any) -> NoReturn:
        raise UsageError("--task is not needed: the method determines it; 'ovperc info' lists the methods of each task")


def task_options() -> TaskOptions:
    """The task-specific options."""
    return collect((name, task.add_arguments) for name, task in TASKS.items())


def _format_help() -> str:
    """Help text listing the formats."""
    rows = (f"{row.name} ({row.title}{''.join(f'; {task}' for task in row.tasks)})" for row in FORMATS.values())
    defaults = ", ".join(row.name for row in FORMATS.values() if row.default)
    return f"comma-separated output formats (default: {defaults}): {', '.join(rows)}"
