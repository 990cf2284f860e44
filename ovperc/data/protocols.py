"""Where a published method departs from its own defaults on a benchmark: view, scale, background threshold.

Numbers are those of the methods' released configs. What a cell leaves out is the default of ``configs/methods``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Protocol:
    """Settings of one method on one benchmark; ``None`` keeps the method's default.

    Attributes:
        short_side_px, max_long_side_px, crop_px, stride_px: of the tiler; a crop of 0 is the whole image.
        logit_scale: of the classifier.
        threshold: confidence below which a pixel is background (``prob_thd``); 0 for none.
    """

    short_side_px: int | None = None
    crop_px: int | None = None
    stride_px: int | None = None
    max_long_side_px: int | None = None
    logit_scale: float | None = None
    threshold: float = 0.0

    def overrides(self) -> dict[str, Any]:
        """The settings as dotted overrides of a method config."""
        named = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "threshold"}
        place = {"logit_scale": "classifier.logit_scale"}
        return {place.get(name, f"tiler.{name}"): value for name, value in named.items() if value is not None}


# Methods that are run by another method's protocol and ask its words.
FAMILY: Mapping[str, str] = {
    "maskclip_ks_pd": "maskclip",
    "naclip_pamr": "naclip",
    "gem": "clearclip",
}

PROTOCOLS: Mapping[str, Mapping[str, Protocol]] = {
    "maskclip": {
        "context59": Protocol(short_side_px=520, max_long_side_px=520),
        "context60": Protocol(short_side_px=520, max_long_side_px=520),
        "cityscapes": Protocol(short_side_px=512, max_long_side_px=1024),
    },
    "sclip": {
        "voc21": Protocol(logit_scale=65.0, threshold=0.1),
        "context60": Protocol(logit_scale=50.0, threshold=0.1),
        "coco_object": Protocol(logit_scale=50.0, threshold=0.1),
        "coco_stuff171": Protocol(short_side_px=448),
        "cityscapes": Protocol(short_side_px=560),
    },
    "naclip": {
        "voc21": Protocol(crop_px=0, stride_px=0, threshold=0.1),
        "voc20": Protocol(crop_px=0, stride_px=0),
        "context60": Protocol(threshold=0.1),
        "coco_object": Protocol(threshold=0.1),
        "cityscapes": Protocol(short_side_px=560),
    },
    "clearclip": {
        "voc21": Protocol(threshold=0.5),
        "context60": Protocol(threshold=0.15),
        "coco_object": Protocol(threshold=0.4),
        "cityscapes": Protocol(crop_px=224, stride_px=224),
    },
    "proxyclip": {
        "voc21": Protocol(threshold=0.2),
        "context60": Protocol(threshold=0.15),
        "coco_object": Protocol(threshold=0.25),
        "cityscapes": Protocol(short_side_px=448, crop_px=224),
        "ade150": Protocol(short_side_px=448),
        "ade847": Protocol(short_side_px=448),
        "pc459": Protocol(short_side_px=448),
    },
    "trident": {
        "voc21": Protocol(threshold=0.2),
        "voc20": Protocol(short_side_px=336, stride_px=112),
        "context60": Protocol(short_side_px=576, threshold=0.15),
        "context59": Protocol(short_side_px=576),
        "coco_object": Protocol(threshold=0.25),
        "cityscapes": Protocol(short_side_px=688),
        "ade150": Protocol(short_side_px=576),
    },
}


def family(method: str) -> str:
    """The method whose words and protocol a method is run with."""
    return FAMILY.get(method, method)


def protocol(method: str, benchmark: str) -> Protocol:
    """The settings of a method on a benchmark; the method's defaults where nothing is published."""
    return PROTOCOLS.get(family(method), {}).get(benchmark, Protocol())
