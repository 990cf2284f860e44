"""Method configs: read from ``configs/methods/``, overridden by the user, adapted to a tower."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovperc.core.config_files import config_root, config_title, find_config, parse_overrides
from ovperc.tasks.method import Method, check_fields
from ovperc.tasks.overlay import find_overlay, is_overridden
from ovperc.tasks.table import DEFAULT_TASK, TASKS, get_task


@dataclass(frozen=True)
class MethodConfig:
    """A method config as it was read: settings before a tower is known.

    Attributes:
        name: stem of its file.
        title: first line of the file's docstring.
        task: name of its task.
        fields: settings of the file with the user's overrides.
        published: settings of the file.
        overrides: dotted keys that the user set -> value.
    """

    name: str
    title: str
    task: str
    fields: Mapping[str, Any]
    published: Mapping[str, Any]
    overrides: Mapping[str, Any]

    def on(self, tower: str | None) -> ResolvedMethod:
        """The method on a tower.

        Args:
            tower: architecture name, whose overlay applies if there is one; None for the method as published.

        Raises:
            ValueError: a field is missing, unknown or of another type.
        """
        overlay = find_overlay(tower)
        fields = dict(self.fields)
        if overlay is not None:
            fields = overlay.apply(fields, self.task, self.name, tuple(self.overrides), TASKS[self.task].extends)
        method_class = TASKS[self.task].method_class()
        check_fields(self.name, method_class, fields)
        missing = [name for name in _required_fields(method_class) if name not in fields]
        if missing:
            raise ValueError(f"method {self.name!r} must set {' and '.join(missing)}")
        method = method_class(name=self.name, title=self.title, **fields)
        return ResolvedMethod(method, None if overlay is None else tower, self._origins(fields))

    def _origins(self, fields: Mapping[str, Any]) -> dict[str, str]:
        published = dict(_leaves(self.published))
        origins = {}
        for path, value in _leaves(fields):
            if is_overridden(path, tuple(self.overrides)):
                origins[path] = "user"
            else:
                origins[path] = "method" if path in published and published[path] == value else "tower"
        return origins


@dataclass(frozen=True)
class ResolvedMethod:
    """A method with the settings it runs with.

    Attributes:
        method: the dataclass of its task.
        tower: architecture whose overlay was applied; None for none.
        origins: dotted setting -> ``method``, ``tower`` or ``user``; settings left at their default are not listed.
    """

    method: Method
    tower: str | None
    origins: Mapping[str, str]

    def settings(self) -> list[tuple[str, Any, str]]:
        """Dotted setting, value and origin (``default`` where nobody set it), in the order of the method's fields."""
        fields = {
            entry.name: getattr(self.method, entry.name)
            for entry in dataclasses.fields(self.method)
            if entry.name not in ("name", "title")
        }
        return [(path, value, self.origins.get(path, "default")) for path, value in _leaves(fields)]


def list_methods(task: str | None = None) -> tuple[str, ...]:
    """Names of the shipped methods: all of them, or those of one task (``"segmentation"``, ``"anomaly"``, ...).

    Raises:
        ValueError: no such task; near matches are offered.
    """
    files = sorted((config_root() / "methods").glob("*.py"))
    if task is not None:
        files = [file for file in files if _task_of(file) == get_task(task).name]
    return tuple(file.stem for file in files)


def read_method(name: str | Path, overrides: Mapping[str, Any] | Sequence[str] | None = None) -> MethodConfig:
    """Reads a method config.

    Args:
        name: a shipped method (``"sclip"``), or a path to a ``.py`` file that sets ``method = dict(...)``.
        overrides: the user's, as a mapping or as texts ``"readout.residual=False"``. A dotted key changes one setting
            of a part (``{"tiler.crop_px": 448}``), a plain one replaces a whole field.

    Raises:
        FileNotFoundError: no such method or file; near matches are offered.
        ValueError: the file is no method config.
    """
    from mmengine.config import Config

    path = find_config(name, "methods")
    config = Config.fromfile(path)
    if not isinstance(config.get("method"), dict):
        raise ValueError(f"{path} is no method config: it must set method = dict(readout=..., tiler=..., ...)")
    published = config.method.to_dict()
    task = get_task(published.pop("task", DEFAULT_TASK)).name
    given = parse_overrides(overrides)
    for key in (key for key in given if "." not in key):
        config.method[key] = given[key]
    config.merge_from_dict({f"method.{key}": value for key, value in given.items() if "." in key})
    fields = config.method.to_dict()
    fields.pop("task", None)
    return MethodConfig(path.stem, config_title(path), task, fields, published, given)


def load_method(name: str | Path, overrides: Mapping[str, Any] | Sequence[str] | None = None) -> Any:
    """A method as published, with the user's overrides; arguments and errors as for :func:`read_method`.

    Returns:
        The dataclass of its task: :class:`ovperc.tasks.segmentation.method.SegMethod`, ...

    Raises:
        ValueError: a field is missing, unknown or of another type.
    """
    return read_method(name, overrides).on(None).method


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [leaf for key, entry in value.items() for leaf in _leaves(entry, f"{path}.{key}" if path else str(key))]
    return [(path, value)]


def _required_fields(method_class: type) -> list[str]:
    free = (dataclasses.MISSING, dataclasses.MISSING)
    return [
        entry.name
        for entry in dataclasses.fields(method_class)
        if entry.name != "name" and (entry.default, entry.default_factory) == free
    ]


def _task_of(path: Path) -> str:
    """The task that a config names, read without running it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for keyword in node.value.keywords:
                if keyword.arg == "task" and isinstance(keyword.value, ast.Constant):
                    return str(keyword.value.value)
    return DEFAULT_TASK
