"""The ``info`` verb: the methods of each task, or the parts and settings of one method."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ovperc.cli.options import add_method_argument, add_model_options

DESCRIPTION = "List methods by task, or show the parts and settings of one method and where each comes from."
EXAMPLES = """examples:
  ovperc info
  ovperc info trident
  ovperc info proxyclip --set tiler.crop_px=448
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_method_argument(parser)
    add_model_options(parser, method=None)


def run(arguments: argparse.Namespace) -> None:
    """Prints the list or the settings."""
    if arguments.method is None:
        _print_methods()
    else:
        _print_method(arguments)


def _print_methods() -> None:
    from ovperc.tasks.methods import list_methods, load_method
    from ovperc.tasks.table import TASKS

    for task in TASKS.values():
        names = list_methods(task.name)
        width = max(map(len, names))
        print(f"{task.name}: {task.title}")
        for name in names:
            print(f"  {name:<{width}}  {load_method(name).title}")


def _print_method(arguments: argparse.Namespace) -> None:
    from ovperc.core.config_files import parse_overrides
    from ovperc.tasks.methods import load_method
    from ovperc.tasks.table import task_of

    overrides = parse_overrides(arguments.overrides)
    method = load_method(arguments.method, overrides)
    print(f"{method.name} ({task_of(method).name}): {method.title}")
    for key, value in _settings(method):
        origin = "user" if key in overrides else "method"
        print(f"  {key} = {value!r}  ({origin})")


def _settings(method: Any) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a method's fields, its name and title left out."""
    for entry in dataclasses.fields(method):
        if entry.name not in ("name", "title"):
            yield from _leaves(entry.name, getattr(method, entry.name))


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from _leaves(f"{key}.{name}", entry)
    else:
        yield key, value
