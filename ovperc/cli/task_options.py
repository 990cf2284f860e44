"""Task-specific options of ``ovperc predict``, rejected for other tasks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ovperc.cli.exits import UsageError
from ovperc.core.naming import join_names


@dataclass(frozen=True)
class TaskOption:
    """An option and the tasks that support it.

    Attributes:
        flags: option strings, such as ``("--min-score",)``.
        settings: keywords of argparse's ``add_argument``, without the default.
        defaults: task -> default value.
    """

    flags: tuple[str, ...]
    settings: dict[str, Any]
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def dest(self) -> str:
        """Name of the option in the parsed arguments."""
        return self.settings.get("dest", self.flags[-1].lstrip("-").replace("-", "_"))


class TaskOptions:
    """Collects the options of all tasks; tasks use it like an argparse argument group."""

    def __init__(self) -> None:
        self._options: dict[str, TaskOption] = {}
        self._task = ""

    def of_task(self, task: str) -> TaskOptions:
        """Returns the collection for adding options of ``task``."""
        self._task = task
        return self

    def add_argument(self, *flags: str, **settings: Any) -> None:
        """Adds an option of the current task; identical options of several tasks are shared."""
        option = TaskOption(flags, settings)
        option = self._options.setdefault(option.dest, option)
        option.defaults[self._task] = settings.get("default", False if settings.get("action") == "store_true" else None)

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Adds all options to a parser, in one group per set of tasks."""
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
        """Fills in the defaults of a task and rejects options of others.

        Args:
            arguments: parsed arguments, modified in place.
            task: the method's task.
            method: method name, for the message.

        Raises:
            UsageError: an option of another task was given.
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
    """Collects the options of tasks.

    Args:
        tasks: task name to ``add_arguments(group)``.
    """
    options = TaskOptions()
    for name, add_arguments in tasks:
        add_arguments(options.of_task(name))
    return options
