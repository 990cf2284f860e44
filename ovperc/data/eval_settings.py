"""Where a published method departs from its own defaults on a benchmark: view, scale, background threshold.

Numbers are those of the methods' released configs. What a cell leaves out is the default of ``configs/methods``.
"""

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
        threshold: confidence below which a pixel is background (``prob_thd``); 0 for none.
        parts: further settings by dotted key, as on the command line.
    """

    short_side_px: int | None = None
    crop_px: int | None = None
    stride_px: int | None = None
    max_long_side_px: int | None = None
    logit_scale: float | None = None
    threshold: float = 0.0
    parts: Mapping[str, Any] = field(default_factory=dict)

    def overrides(self) -> dict[str, Any]:
        """The settings as dotted overrides of a method config."""
        apart = ("threshold", "parts")
        named = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in apart}
        place = {"logit_scale": "classifier.logit_scale"}
        own = {place.get(name, f"tiler.{name}"): value for name, value in named.items() if value is not None}
        return {**own, **self.parts}


# Methods that are run by another method's protocol and ask its words.
FAMILY: Mapping[str, str] = {
    "maskclip_ks_pd": "maskclip",
    "naclip_pamr": "naclip",
    "gem": "clearclip",
    "proxyclip_dinov2": "proxyclip",
    "proxyclip_sam": "proxyclip",
    "trident_sam": "trident",
}

_COS_FACTOR = "splice.aggregator.cos_factor"
_KEEP_NEGATIVE = "splice.aggregator.keep_negative"

EVAL_SETTINGS: Mapping[str, Mapping[str, EvalSettings]] = {
    "maskclip": {
        "context59": EvalSettings(short_side_px=520, max_long_side_px=520),
        "context60": EvalSettings(short_side_px=520, max_long_side_px=520),
        "cityscapes": EvalSettings(short_side_px=512, max_long_side_px=1024),
    },
    "sclip": {
        "voc21": EvalSettings(logit_scale=65.0, threshold=0.1),
        "context60": EvalSettings(logit_scale=50.0, threshold=0.1),
        "coco_object": EvalSettings(logit_scale=50.0, threshold=0.1),
        "coco_stuff171": EvalSettings(short_side_px=448),
        "cityscapes": EvalSettings(short_side_px=560),
    },
    "naclip": {
        "voc21": EvalSettings(crop_px=0, stride_px=0, threshold=0.1),
        "voc20": EvalSettings(crop_px=0, stride_px=0),
        "context60": EvalSettings(threshold=0.1),
        "coco_object": EvalSettings(threshold=0.1),
        "cityscapes": EvalSettings(short_side_px=560),
    },
    "clearclip": {
        "voc21": EvalSettings(threshold=0.5),
        "context60": EvalSettings(threshold=0.15),
        "coco_object": EvalSettings(threshold=0.4),
        "cityscapes": EvalSettings(crop_px=224, stride_px=224),
    },
    "proxyclip": {
        "voc21": EvalSettings(threshold=0.2),
        "context60": EvalSettings(threshold=0.15),
        "coco_object": EvalSettings(threshold=0.25),
        "cityscapes": EvalSettings(short_side_px=448, crop_px=224),
        "ade150": EvalSettings(short_side_px=448),
        "ade847": EvalSettings(short_side_px=448),
        "pc459": EvalSettings(short_side_px=448),
    },
    "clip_dinoiser": {
        # The learned foreground rule is used on VOC21 and COCO-Object only.
        "context60": EvalSettings(parts={"logit_rule": None}),
    },
    "trident": {
        "voc21": EvalSettings(threshold=0.2),
        "voc20": EvalSettings(short_side_px=336, stride_px=112, parts={_COS_FACTOR: 0.0}),
        "context60": EvalSettings(short_side_px=576, threshold=0.15),
        "context59": EvalSettings(short_side_px=576),
        "coco_object": EvalSettings(threshold=0.25),
        "cityscapes": EvalSettings(short_side_px=688, parts={_COS_FACTOR: 3.0, _KEEP_NEGATIVE: False}),
        "ade150": EvalSettings(short_side_px=576, parts={_KEEP_NEGATIVE: False}),
    },
}

# Settings of a method's last step, on top of its family's.
_LAST_STEP: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "trident_sam": {
        name: {"refiner.coarse_threshold": threshold}
        for name, threshold in {
            "voc21": 0.2,
            "voc20": 0.2,
            "context60": 0.15,
            "context59": 0.15,
            "coco_object": 0.25,
            "coco_stuff171": 0.05,
            "cityscapes": 0.10,
            "ade150": 0.05,
        }.items()
    }
}


def family(method: str) -> str:
    """The method whose words and protocol a method is run with."""
    return FAMILY.get(method, method)


def eval_settings(method: str, benchmark: str) -> EvalSettings:
    """The settings of a method on a benchmark; the method's defaults where nothing is published."""
    shared = EVAL_SETTINGS.get(family(method), {}).get(benchmark, EvalSettings())
    last = _LAST_STEP.get(method, {}).get(benchmark, {})
    return replace(shared, parts={**shared.parts, **last}) if last else shared
