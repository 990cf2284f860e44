"""The ``info`` verb: lists the methods of each task, or shows the components and settings of one method."""

from __future__ import annotations

import argparse

from ovperc.cli.options import add_method_argument, add_model_options

DESCRIPTION = "List methods by task, or show the components and settings of one method with their origin."
EXAMPLES = """examples:
  ovperc info
  ovperc info trident
  ovperc info proxyclip --weights ViT-B-16/openai --set tiler.crop_px=448

A setting originates from the method's config, the tower's overlay, the user or the default.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_method_argument(parser)
    add_model_options(parser, method=None, compute=False)


def run(arguments: argparse.Namespace) -> None:
    """Prints the list of methods or the settings of one."""
    if arguments.method is None:
        _print_methods()
    else:
        _print_method(arguments)


def _print_methods() -> None:
    from ovperc.tasks.methods import list_methods, read_method
    from ovperc.tasks.table import TASKS

    for task in TASKS.values():
        names = list_methods(task.name)
        width = max(map(len, names))
        print(f"{task.name}: {task.title}")
        for name in names:
            print(f"  {name:<{width}}  {read_method(name).title}")


def _print_method(arguments: argparse.Namespace) -> None:
    from ovperc.tasks.load import resolve_method
    from ovperc.tasks.table import task_of

    resolved = resolve_method(
        arguments.method, arguments.weights, arguments.arch, arguments.overrides, arguments.as_published
    )
    method = resolved.method
    tower = "as published" if resolved.tower is None else f"on {resolved.tower}"
    print(f"{method.name} ({task_of(method).name}), {tower}\n{method.title}\n")
    rows = [(key, repr(value), origin) for key, value, origin in resolved.settings()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    print(f"{'setting':<{widths[0]}}  {'value':<{widths[1]}}  origin")
    for key, value, origin in rows:
        print(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
