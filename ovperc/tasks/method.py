"""What the methods of all tasks have in common: named parts and numbers, frozen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ovperc.core.naming import suggest
from ovperc.tiling.preprocess import check_resize

_SIZES = ("short_side_px", "max_long_side_px", "crop_px", "stride_px")
_RENAMED = {"proxy": "guide", "score_rule": "logit_rule", "renderer": "upsampler", "keep": "max_detections"}
M = TypeVar("M", bound="Method")


@dataclass(frozen=True, kw_only=True)
class Method:
    """A published method as a choice of parts; each task adds its own.

    Attributes:
        name: stem of its config file.
        title: first line of the file's docstring: paper and idea.
        tiler: ``dict(type="Tiler", ...)``; sizes in pixels.
        templates: name of a prompt set, or own patterns.
        pos_embed: how position tables are resized (a mode of :func:`ovperc.backbones.loading.load_clip`).
        resize: rule of the image's resize, see :data:`ovperc.tiling.preprocess.RESIZE_RULES`, or ``weights``.
        weights: loaded where the user names none; None for the default of :func:`ovperc.load`.
        parts: class attribute, fields that must hold ``dict(type=NAME, ...)``.
        optional_parts: class attribute, the same, or None.
        settings: class attribute, fields that must hold a dict.

    Raises:
        ValueError: a field of another type, or an unknown resize.
    """

    parts: ClassVar[tuple[str, ...]] = ("tiler",)
    optional_parts: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[tuple[str, ...]] = ()

    name: str
    title: str = ""
    tiler: Mapping[str, Any]
    templates: str | tuple[str, ...] = "openai80"
    pos_embed: str = "size"
    resize: str = "opencv"
    weights: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.templates, list):
            object.__setattr__(self, "templates", tuple(self.templates))
        for name in (*self.parts, *self.optional_parts):
            value = getattr(self, name)
            if value is None and name in self.optional_parts:
                continue
            if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
                raise ValueError(f"method {self.name!r}: {name} must be dict(type=NAME, ...); got {value!r}")
        for name in self.settings:
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"method {self.name!r}: {name} must be a dict; got {getattr(self, name)!r}")
        check_resize(self.resize)
        if not isinstance(self.pos_embed, str):
            raise ValueError(f"method {self.name!r}: pos_embed must name a mode; got {self.pos_embed!r}")

    def replace(self: M, **fields: Any) -> M:
        """The same method with other parts.

        Raises:
            ValueError: a field that the method does not have; near matches are offered.
        """
        check_fields(self.name, type(self), fields)
        return dataclasses.replace(self, **fields)


def check_fields(name: str, method_class: type[Method], fields: Mapping[str, Any]) -> None:
    """Refuses fields that a method class does not have.

    Raises:
        ValueError: an unknown field; near matches are offered.
    """
    known = {entry.name for entry in dataclasses.fields(method_class)} - {"name", "title"}
    for key in fields:
        if key not in known:
            hint = f"it is called {_RENAMED[key]!r} now" if _RENAMED.get(key) in known else suggest(key, known)
            raise ValueError(f"method {name!r} has an unknown field {key!r}; {hint}")


def scaled_tiler(tiler: Mapping[str, Any], written_for_px: int, native_px: int, patch_px: int) -> dict[str, Any]:
    """A tiler's settings on a tower trained on smaller images than they were written for.

    Every size shrinks in proportion, to whole patches, so that the grids of patches keep their shape: 336 px in tiles
    of 224 become 168 px in tiles of 112 for a tower trained at 112 px. Settings are never enlarged.

    Args:
        tiler: settings as the method writes them.
        written_for_px: image side of the towers they were written for.
        native_px: image side that this tower was trained at.
        patch_px: its stride.
    """
    factor = min(1.0, native_px / written_for_px)
    settings = dict(tiler)
    if factor < 1:
        for key in _SIZES:
            if settings.get(key):
                settings[key] = max(1, math.floor(settings[key] * factor / patch_px + 0.5)) * patch_px
    return settings
