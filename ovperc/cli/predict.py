"""The ``predict`` verb: images in; what the method's task finds in them out."""

from __future__ import annotations

import argparse
import importlib
from typing import Any, NoReturn

from ovperc.cli.exits import UsageError
from ovperc.cli.options import add_file_options, add_model_options
from ovperc.cli.task_options import TaskOptions, collect
from ovperc.tasks.table import TASKS

DESCRIPTION = "Run a method on images. The method decides the task: segmentation, detection or anomaly localization."
EXAMPLES = """examples:
  ovperc predict photo.jpg folder/ --words "red star, grass|lawn" --out out
  ovperc predict photo.jpg --method fvlm --words "red star, car|automobile" --out out
  ovperc predict parts/ --method anomalyclip --object "metal nut" --normal good/ --fpr 0.05 --out out
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_file_options(parser)
    add_model_options(parser)
    task_options().add_to(parser)
    parser.add_argument("--task", action=_RefuseTask, help=argparse.SUPPRESS)


class _RefuseTask(argparse.Action):
    """Answers ``--task``, which the method makes superfluous."""

    def __call__(self, *_: Any) -> NoReturn:
        raise UsageError("--task is not needed: --method decides the task; ovperc info lists the methods of each")


def task_options() -> TaskOptions:
    """The options that belong to some tasks only."""
    return collect((name, _module(name).add_arguments) for name in TASKS)


def run(arguments: argparse.Namespace) -> int:
    """Runs the method on each image."""
    from ovperc.tasks.methods import read_method

    task = read_method(arguments.method, arguments.overrides).task
    task_options().settle(arguments, task, arguments.method)
    return _module(task).run(arguments)


def _module(task: str) -> Any:
    return importlib.import_module(f"ovperc.cli.predict_{task}")
