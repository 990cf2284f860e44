"""Configuration of anomaly methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ovperc.core.naming import suggest
from ovperc.tasks.method import Method

TileScore = Literal["max", "mean"]
AUGMENTATIONS: tuple[str, ...] = ("hflip", "vflip", "rot90", "rot180", "rot270")


@dataclass(frozen=True, kw_only=True)
class AnomalyMethod(Method):
    """Configuration of an anomaly method.

    The tiler is ``dict(type="SquareTiler", size_px=...)``, or ``dict(type="Tiler", ..., whole_patches=True)`` to
    keep the aspect ratio or to tile large images.

    Attributes:
        head: ``dict(type=NAME, ...)`` of an anomaly head.
        texts: ``dict(type="ComposedTexts", prompts=...)`` or ``dict(type="PromptTexts", source=...)``; None for heads
            that use no text.
        upsampler: keywords of :class:`MapUpsampler` other than ``stride_px`` and ``combine``.
        augment: augmented copies of each normal image that few-shot methods also memorise.
        tile_score: image score of a tiled image: the ``max`` or ``mean`` over tiles.

    Raises:
        ValueError: a component has the wrong type, or a choice is unknown.
    """

    parts = ("head", "tiler")
    optional_parts = ("texts",)
    settings = ("upsampler",)

    head: Mapping[str, Any]
    texts: Mapping[str, Any] | None = None
    upsampler: Mapping[str, Any] = field(default_factory=dict)
    pos_embed: str = "bilinear_square"
    resize: str = "bicubic"
    augment: tuple[str, ...] = ()
    tile_score: TileScore = "max"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "augment", tuple(self.augment))
        if self.tile_score not in get_args(TileScore):
            raise ValueError(f"unknown tile_score {self.tile_score!r}; {suggest(self.tile_score, get_args(TileScore))}")
        for copy in self.augment:
            if copy not in AUGMENTATIONS:
                raise ValueError(f"unknown augment {copy!r}; {suggest(copy, AUGMENTATIONS)}")
