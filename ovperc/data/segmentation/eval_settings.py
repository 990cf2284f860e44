"""Published settings of methods per benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True)
class EvalSettings:
    """Settings of a method on a benchmark; ``None`` keeps the method's default.

    Attributes:
        short_side_px, max_long_side_px, crop_px, stride_px: tiler settings; a crop of 0 is the full image.
        logit_scale: logit scale of the classifier.
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
        """These settings, overridden by those of ``other``."""
        changed = {entry.name: getattr(other, entry.name) for entry in fields(self) if entry.name != "parts"}
        changed = {name: value for name, value in changed.items() if value is not None}
        return replace(self, **changed, parts={**self.parts, **other.parts})


# Variants that use the settings and prompts of another method.
FAMILY: Mapping[str, str] = {
    "maskclip_ks_pd": "maskclip",
    "naclip_pamr": "naclip",
    "gem": "clearclip",
    "proxyclip_dinov2": "proxyclip",
    "proxyclip_sam": "proxyclip",
    "trident_sam": "trident",
}


def family(method: str) -> str:
    """The method whose prompts and settings a method uses."""
    return FAMILY.get(method, method)
