"""Methods of detection: where regions come from, how CLIP sees them, and how scores are fused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ovperc.core.naming import suggest
from ovperc.tasks.detection.region_detector import VlmReadout
from ovperc.tasks.method import Method
from ovperc.text.region_scores import Fusion


@dataclass(frozen=True, kw_only=True)
class DetectionMethod(Method):
    """One method of detection; the whole image is one tile, and both sides are whole patches.

    Attributes:
        heads: trained heads, a catalogue name or a file; None for a training-free detector.
        proposer: ``dict(type=NAME, ...)`` that finds regions in place of the heads.
        vlm: fields of `VlmReadout`.
        fusion: fields of `Fusion`.
        rpn: keywords of the heads' proposals: ``before``, ``after``, ``rpn_iou``.
        nms_iou: overlap above which the lesser of two boxes of one class is dropped.
        max_detections: most objects per image.
        min_score: objects score more than this.
        compose: phrases are the sum of their words; None leaves it to the heads.
        supervision: what the heads were trained with, for reports.

    Raises:
        ValueError: a part of the wrong type, an unknown choice, or a number out of range.
    """

    optional_parts = ("proposer",)
    settings = ("vlm", "fusion", "rpn")

    heads: str | None = None
    proposer: Mapping[str, Any] | None = None
    vlm: Mapping[str, Any] = field(default_factory=dict)
    fusion: Mapping[str, Any] = field(default_factory=dict)
    rpn: Mapping[str, Any] = field(default_factory=dict)
    nms_iou: float = 0.5
    max_detections: int = 100
    min_score: float = 1e-4
    compose: bool | None = None
    supervision: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, part_class in (("vlm", VlmReadout), ("fusion", Fusion)):
            self._check_settings(name, part_class)
        if not 0 < self.nms_iou <= 1 or self.max_detections < 1 or self.min_score < 0:
            raise ValueError(
                f"method {self.name!r}: nms_iou lies in (0, 1], max_detections is at least 1, min_score not negative; "
                f"got {self.nms_iou}, {self.max_detections}, {self.min_score}"
            )

    def _check_settings(self, part: str, part_class: type) -> None:
        known = [entry.name for entry in dataclasses.fields(part_class)]
        for key in getattr(self, part):
            if key not in known:
                raise ValueError(f"method {self.name!r}: {part} has no {key!r}; {suggest(key, known)}")
        part_class(**getattr(self, part))
