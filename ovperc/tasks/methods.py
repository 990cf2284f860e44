"""Method configs: a published method as a choice of parts and numbers, read from ``configs/methods/``."""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovperc.core.config_files import config_root, find_config, parse_overrides
from ovperc.core.naming import suggest
from ovperc.tasks.table import DEFAULT_TASK, get_task

_OPTIONAL_PARTS = ("logit_rule", "refiner", "guide")
_VIEW_SIZES = ("short_side_px", "max_long_side_px", "crop_px", "stride_px")


@dataclass(frozen=True)
class MethodConfig:
    """One method of segmentation.

    Attributes:
        name: stem of its file.
        title: first line of the file's docstring: paper and idea.
        readout: ``dict(type=NAME, ...)`` of a readout, its affinity inside.
        tiler: ``dict(type="Tiler", ...)``; sizes in pixels, for towers trained at ``native_px`` or more.
        pos_embed: how position tables are resized (a mode of ``load_clip``).
        templates: name of a prompt set, or own patterns.
        classifier: keywords of the streaming classifier.
        logit_rule: ``dict(type=NAME, ...)`` or None.
        refiner: ``dict(type=NAME, ...)`` or None.
        splice: merge windows as features before they are classified: ``dict()``, or ``dict(aggregator=dict(type=NAME,
            ...))`` for one more averaging over the whole image; None merges scores.
        guide: second tower, ``dict(type=NAME, weights=..., mini=...)``; ``mini`` names the weights that are used
            beside clip-mini.
        stream: fields (parts, whole) that take the place of those above on towers whose patches speak through the
            residual stream, as the weights declare (``ClipModel.needs_stream``); :meth:`on` applies them. A field that
            the user sets by hand is left out of it. Empty: the method is the same on every tower.
        preprocess: replaces fields of the tower's own preprocessing (``mean``, ``std``); empty in most methods.
        native_px: image side of the towers that the tiler's sizes are written for; :meth:`view` shrinks them
            for towers trained on smaller images.
    """

    name: str
    readout: Mapping[str, Any]
    tiler: Mapping[str, Any]
    title: str = ""
    pos_embed: str = "size"
    templates: str | tuple[str, ...] = "openai80"
    classifier: Mapping[str, Any] = field(default_factory=dict)
    logit_rule: Mapping[str, Any] | None = None
    refiner: Mapping[str, Any] | None = None
    guide: Mapping[str, Any] | None = None
    splice: Mapping[str, Any] | None = None
    stream: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    native_px: int = 224

    def __post_init__(self) -> None:
        for part in ("readout", "tiler", *_OPTIONAL_PARTS):
            value = getattr(self, part)
            if value is None and part in _OPTIONAL_PARTS:
                continue
            if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
                raise ValueError(f"method {self.name!r}: {part} must be dict(type=NAME, ...); got {value!r}")
        if self.splice is not None and not isinstance(self.splice, Mapping):
            raise ValueError(f"method {self.name!r}: splice must be a dict or None; got {self.splice!r}")
        for part in ("classifier", "preprocess", "stream"):
            if not isinstance(getattr(self, part), Mapping):
                raise ValueError(f"method {self.name!r}: {part} must be a dict; got {getattr(self, part)!r}")
        if not isinstance(self.pos_embed, str):
            raise ValueError(f"method {self.name!r}: pos_embed must name a mode; got {self.pos_embed!r}")
        if not isinstance(self.native_px, int) or self.native_px < 1:
            raise ValueError(f"method {self.name!r}: native_px must be a number of pixels; got {self.native_px!r}")

    def on(self, *, needs_stream: bool) -> MethodConfig:
        """The method for a tower: with the fields of ``stream`` in place where the tower needs them."""
        return self.replace(stream={}, **self.stream) if needs_stream and self.stream else self

    def replace(self, **fields: Any) -> MethodConfig:
        """The same method with other parts.

        Raises:
            ValueError: a field that methods do not have; near matches are offered.
        """
        _check_fields(self.name, type(self), fields)
        return dataclasses.replace(self, **fields)

    def view(self, native_px: int, patch_px: int) -> dict[str, Any]:
        """The tiler's settings for a tower.

        Sizes hold as they are for towers trained at ``self.native_px`` (224 in published methods) and more. For a
        smaller one every size shrinks in proportion, to whole patches, so that the grids of patches keep their
        shape: 336 px in windows of 224 become 168 px in windows of 112 for a tower trained at 112 px. Sizes
        written for such a tower are kept by ``native_px=112``.

        Args:
            native_px: image side that the tower was trained at.
            patch_px: its stride.
        """
        factor = min(1.0, native_px / self.native_px)
        settings = dict(self.tiler)
        if factor < 1:
            for key in _VIEW_SIZES:
                if settings.get(key):
                    settings[key] = max(1, math.floor(settings[key] * factor / patch_px + 0.5)) * patch_px
        return settings


def list_methods(task: str | None = None) -> tuple[str, ...]:
    """Names of the shipped methods: all of them, or those of one task (``"segmentation"``, ``"anomaly"``, ...).

    Raises:
        ValueError: no such task; near matches are offered.
    """
    files = sorted((config_root() / "methods").glob("*.py"))
    if task is not None:
        files = [file for file in files if _task_of(file) == get_task(task).name]
    return tuple(file.stem for file in files)


def load_method(name: str | Path, options: Mapping[str, Any] | Sequence[str] | None = None) -> Any:
    """Reads a method config.

    Args:
        name: a shipped method (``"sclip"``), or a path to a ``.py`` file that sets ``method = dict(...)``.
        options: overrides, as a mapping or as texts ``"readout.residual=False"``. A dotted key changes one
            setting of a part (``{"tiler.crop_px": 448}``), a plain one replaces a whole field.

    Returns:
        :class:`MethodConfig`, or the dataclass of the task that the config names (``task="anomaly"``).

    Raises:
        FileNotFoundError: no such method or file; near matches are offered.
        ValueError: a field is missing, unknown or of a wrong kind.
    """
    from mmengine.config import Config

    path = find_config(name, "methods")
    config = Config.fromfile(path)
    if not isinstance(config.get("method"), dict):
        raise ValueError(f"{path} is no method config: it must set method = dict(readout=..., tiler=..., ...)")
    overrides = parse_overrides(options)
    by_hand = {key.split(".")[0] for key in overrides}
    for key in [key for key in overrides if "." not in key]:
        config.method[key] = overrides.pop(key)
    config.merge_from_dict({f"method.{key}": value for key, value in overrides.items()})
    fields = config.method.to_dict()
    _drop_mini(fields, overrides)
    if fields.get("stream"):
        fields["stream"] = {key: value for key, value in fields["stream"].items() if key not in by_hand}
    kind = get_task(fields.pop("task", DEFAULT_TASK)).place("method")
    _check_fields(path.stem, kind, fields)
    missing = [field for field in _required_fields(kind) if field not in fields]
    if missing:
        raise ValueError(f"method {path.stem!r} must set {' and '.join(missing)}")
    if isinstance(fields.get("templates"), list):
        fields["templates"] = tuple(fields["templates"])
    return kind(name=path.stem, title=_title(path), **fields)


def _drop_mini(fields: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Weights of a part that are named by hand (``"guide.weights"``) also hold beside clip-mini: no ``mini`` wins."""
    for key in overrides:
        *path, last = key.split(".")
        if last == "weights" and ".".join([*path, "mini"]) not in overrides:
            part = fields
            for step in path:
                part = part[step]
            part.pop("mini", None)


def _required_fields(kind: type) -> list[str]:
    free = (dataclasses.MISSING, dataclasses.MISSING)
    return [
        entry.name
        for entry in dataclasses.fields(kind)
        if entry.name != "name" and (entry.default, entry.default_factory) == free
    ]


def _check_fields(name: str, kind: type, fields: Mapping[str, Any]) -> None:
    known = {entry.name for entry in dataclasses.fields(kind)} - {"name", "title"}
    for key in fields:
        if key not in known:
            raise ValueError(f"method {name!r} has an unknown field {key!r}; {suggest(key, known)}")


def _task_of(path: Path) -> str:
    """The task that a config names, read without running it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for keyword in node.value.keywords:
                if keyword.arg == "task" and isinstance(keyword.value, ast.Constant):
                    return keyword.value.value
    return DEFAULT_TASK


def _title(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
