"""Configs of anomaly methods: a head, what it reads, and how the image is shown to the tower."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ovperc.core.naming import suggest
from ovperc.tiling.square import check_resize

TileScore = Literal["max", "mean"]
AUGMENTATIONS: tuple[str, ...] = ("hflip", "vflip", "rot90", "rot180", "rot270")
_PARTS = ("head", "tiler", "upsampler", "texts")


@dataclass(frozen=True)
class AnomalyMethod:
    """One method.

    Attributes:
        name: stem of its file.
        head: ``dict(type=NAME, ...)`` of an anomaly head.
        tiler: ``dict(type="SquareTiler", size_px=...)``, or ``dict(type="Tiler", ..., whole_patches=True)`` for the
            image's own aspect or for tiles of large images.
        title: first line of the file's docstring.
        texts: ``dict(type="ComposedTexts", prompts=...)`` or ``dict(type="PromptTexts", source=...)``; None for heads
            that read no words.
        upsampler: keywords of :class:`MapUpsampler` other than ``stride_px`` and ``combine``.
        pos_embed: how position tables are resized (a mode of ``load_clip``).
        resize: rule of the image's resize: ``bicubic``, ``bilinear`` or ``opencv``.
        weights: what is loaded where the user names none; None for clip-mini.
        augment: copies of each normal image that a few-shot method also remembers.
        tile_score: image score of an image in tiles: the highest tile (``max``) or the ``mean``.
        mini: fields that change on the shipped small towers: tower name -> field -> value; dicts are merged.

    Raises:
        ValueError: a part of the wrong kind or an unknown choice.
    """

    name: str
    head: Mapping[str, Any]
    tiler: Mapping[str, Any]
    title: str = ""
    texts: Mapping[str, Any] | None = None
    upsampler: Mapping[str, Any] = field(default_factory=dict)
    pos_embed: str = "bilinear_square"
    resize: str = "bicubic"
    weights: str | None = None
    augment: tuple[str, ...] = ()
    tile_score: TileScore = "max"
    mini: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "augment", tuple(self.augment))
        for part in ("head", "tiler", "texts"):
            value = getattr(self, part)
            typed = isinstance(value, Mapping) and isinstance(value.get("type"), str)
            if not typed and not (part == "texts" and value is None):
                raise ValueError(f"method {self.name!r}: {part} must be dict(type=NAME, ...); got {value!r}")
        for part in ("upsampler", "mini"):
            if not isinstance(getattr(self, part), Mapping):
                raise ValueError(f"method {self.name!r}: {part} must be a dict; got {getattr(self, part)!r}")
        check_resize(self.resize)
        if self.tile_score not in get_args(TileScore):
            raise ValueError(f"unknown tile_score {self.tile_score!r}; {suggest(self.tile_score, get_args(TileScore))}")
        for copy in self.augment:
            if copy not in AUGMENTATIONS:
                raise ValueError(f"unknown augment {copy!r}; {suggest(copy, AUGMENTATIONS)}")

    def on(self, arch: str, asked: Collection[str] = ()) -> AnomalyMethod:
        """The method as it is used on an architecture.

        Args:
            arch: such as ``"clip-mini"``.
            asked: fields that the user chose by hand; they stay, but for settings that they leave None.
        """
        changes: dict[str, Any] = {}
        for name, value in self.mini.get(arch, {}).items():
            old = getattr(self, name)
            merges = name in _PARTS and isinstance(old, Mapping) and value.get("type") in (None, old.get("type"))
            if name in asked:
                absent = {key: entry for key, entry in value.items() if old.get(key) is None} if merges else {}
                changes[name] = {**old, **absent} if merges else old
            else:
                changes[name] = {**old, **value} if merges else value
        return dataclasses.replace(self, **changes)
