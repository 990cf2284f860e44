"""Settings by which a published method departs from its own defaults on a benchmark: view, scale, threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True)
class EvalSettings:
    """Settings of one method on one benchmark; ``None`` keeps the method's default.

    Attributes:
        short_side_px, max_long_side_px, crop_px, stride_px: of the tiler; a crop of 0 is the whole image.
        logit_scale: of the classifier.
        threshold: confidence below which a pixel is background (``prob_thd``).
        parts: further settings by dotted key, as on the command line.
    """

    short_side_px: int | None = None
    crop_px: int | None = None
    stride_px: int | None = None
    max_long_side_px: int | None = None
    logit_scale: float | None = None
    threshold: float | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)

    def overrides(self) -> dict[str, Any]:
        """The settings as dotted overrides of a method config."""
        apart = ("threshold", "parts")
        named = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in apart}
        place = {"logit_scale": "classifier.logit_scale"}
        own = {place.get(name, f"tiler.{name}"): value for name, value in named.items() if value is not None}
        return {**own, **self.parts}

    def updated(self, other: EvalSettings) -> EvalSettings:
        """These settings with those that ``other`` sets in their place."""
        changed = {entry.name: getattr(other, entry.name) for entry in fields(self) if entry.name != "parts"}
        changed = {name: value for name, value in changed.items() if value is not None}
        return replace(self, **changed, parts={**self.parts, **other.parts})


# Variants that are run with the settings and the words of another method.
FAMILY: Mapping[str, str] = {
    "maskclip_ks_pd": "maskclip",
    "naclip_pamr": "naclip",
    "gem": "clearclip",
    "proxyclip_dinov2": "proxyclip",
    "proxyclip_sam": "proxyclip",
    "trident_sam": "trident",
}


def family(method: str) -> str:
    """The method whose words and settings a method is run with."""
    return FAMILY.get(method, method)
