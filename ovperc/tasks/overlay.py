"""What a tower changes in the methods that run on it: one file per tower, ``configs/towers/ARCH.py``.

Precedence, per field of a method: the user's overrides, then the tower's overlay, then the method's config.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovperc.core.config_files import config_root, config_title

_LINKED = (frozenset({"tiler", "native_px"}),)


@dataclass(frozen=True)
class TowerOverlay:
    """The changes of one tower.

    Attributes:
        tower: architecture name.
        title: first line of the file's docstring.
        tasks: task -> fields for all of its methods, and for those of tasks that extend it.
        methods: method -> fields; applied after those of its task.
        companions: catalogue name -> the weights used instead of it for second towers, heads and refiners.
    """

    tower: str
    title: str = ""
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    companions: Mapping[str, str] = field(default_factory=dict)

    def apply(
        self, fields: Mapping[str, Any], task: str, method: str, overrides: Collection[str], extends: str = ""
    ) -> dict[str, Any]:
        """A method's fields on this tower.

        A dict merges into the method's own where neither names another ``type``; with ``_delete_=True`` it replaces it.
        A field that the user replaces stays as it is. A field of which the user overrides a setting keeps the user's
        and the method's settings; the overlay only fills those that are absent or None.

        Args:
            fields: of the method, the user's overrides included.
            task: its task.
            method: its name.
            overrides: dotted keys that the user set.
            extends: task whose fields apply before those of ``task``; empty for none.
        """
        touched = {key.partition(".")[0] for key in overrides}
        replaced = {key for key in overrides if "." not in key}
        for group in _LINKED:
            replaced |= group - touched if touched & group else set()
        result = dict(fields)
        for layer in (self.tasks.get(extends, {}), self.tasks.get(task, {}), self.methods.get(method, {})):
            for name, value in layer.items():
                if name in touched and name not in replaced:
                    result[name] = _filled(result.get(name), value)
                elif name not in replaced:
                    result[name] = _merged(result.get(name), value)
        return {name: self._with_companions(value, name, overrides) for name, value in result.items()}

    def _with_companions(self, value: Any, path: str, overrides: Collection[str]) -> Any:
        if isinstance(value, Mapping):
            return {key: self._with_companions(entry, f"{path}.{key}", overrides) for key, entry in value.items()}
        if path.endswith(".weights") and value in self.companions and not is_overridden(path, overrides):
            return self.companions[value]
        return value


def is_overridden(path: str, overrides: Collection[str]) -> bool:
    """Whether the user set a dotted setting, by itself or with the part that holds it."""
    return any(path == key or path.startswith(f"{key}.") for key in overrides)


def find_overlay(tower: str | None) -> TowerOverlay | None:
    """The overlay of an architecture; None for towers that methods run on as published.

    Raises:
        ValueError: the file is no overlay.
    """
    path = None if tower is None else _overlay_files().get(tower.replace("_", "-").casefold())
    return None if path is None else _read(path, str(tower))


def _overlay_files() -> dict[str, Path]:
    return {file.stem.replace("_", "-"): file for file in (config_root() / "towers").glob("*.py")}


def _read(path: Path, tower: str) -> TowerOverlay:
    from mmengine.config import Config

    settings = Config.fromfile(path).to_dict().get("tower")
    if not isinstance(settings, dict):
        raise ValueError(
            f"{path} is no tower overlay: it must set tower = dict(tasks=..., methods=..., companions=...)"
        )
    try:
        return TowerOverlay(tower, config_title(path), **settings)
    except TypeError as error:
        raise ValueError(f"{path}: tower holds tasks, methods and companions only ({error})") from error


def _same_type(old: Any, new: Any) -> bool:
    return isinstance(old, Mapping) and isinstance(new, Mapping) and new.get("type") in (None, old.get("type"))


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(new, Mapping):
        return new
    if new.get("_delete_") or not _same_type(old, new):
        return {key: value for key, value in new.items() if key != "_delete_"}
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _filled(old: Any, new: Any) -> Any:
    if not _same_type(old, new):
        return old
    return {**old, **{key: value for key, value in new.items() if key != "_delete_" and old.get(key) is None}}
