"""Options of ``ovperc predict`` that belong to some tasks only: declared once, refused for the others."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ovperc.cli.exits import UsageError
from ovperc.core.naming import join_names


@dataclass(frozen=True)
class TaskOption:
    """One option and the tasks that have it.

    Attributes:
        flags: such as ``("--min-score",)``.
        settings: keywords of argparse's ``add_argument``; the default is that of the task.
        defaults: task -> default value.
    """

    flags: tuple[str, ...]
    settings: dict[str, Any]
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def dest(self) -> str:
        """Name of the option in parsed arguments."""
        return self.settings.get("dest", self.flags[-1].lstrip("-").replace("-", "_"))


class TaskOptions:
    """Collects the options of tasks; to a task it is the argument group that it adds its options to."""

    def __init__(self) -> None:
        self._options: dict[str, TaskOption] = {}
        self._task = ""

    def of_task(self, task: str) -> TaskOptions:
        """The collection, where what is added next belongs to ``task``."""
        self._task = task
        return self

    def add_argument(self, *flags: str, **settings: Any) -> None:
        """Adds an option of the current task; one that another task already has is shared."""
        option = TaskOption(flags, settings)
        option = self._options.setdefault(option.dest, option)
        option.defaults[self._task] = settings.get("default", False if settings.get("action") == "store_true" else None)

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Adds all options to a parser, a group for the tasks that share them."""
        groups: dict[tuple[str, ...], Any] = {}
        for option in self._options.values():
            owners = tuple(option.defaults)
            if owners not in groups:
                groups[owners] = parser.add_argument_group(f"{join_names(owners)} methods")
            text = option.settings["help"].replace("%(default)s", str(option.settings.get("default")))
            groups[owners].add_argument(
                *option.flags, **{**option.settings, "default": argparse.SUPPRESS, "help": text}
            )

    def settle(self, arguments: argparse.Namespace, task: str, method: str) -> None:
        """Fills in the defaults of a task.

        Args:
            arguments: parsed; changed in place.
            task: of the method.
            method: its name, for the message.

        Raises:
            UsageError: an option of other tasks is given.
        """
        for option in self._options.values():
            if task in option.defaults:
                if option.dest not in arguments:
                    setattr(arguments, option.dest, option.defaults[task])
            elif option.dest in arguments:
                article = "an" if task[0] in "aeiou" else "a"
                raise UsageError(
                    f"{option.flags[-1]} is an option of {join_names(option.defaults)} methods; {method} is {article} "
                    f"{task} method"
                )


def collect(tasks: Iterable[tuple[str, Any]]) -> TaskOptions:
    """The options of tasks.

    Args:
        tasks: name and ``add_arguments(group)`` of each.
    """
    options = TaskOptions()
    for name, add_arguments in tasks:
        add_arguments(options.of_task(name))
    return options
