"""Configs of detection methods: where regions come from, how CLIP sees them, and how scores are fused."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ovperc.core.naming import suggest
from ovperc.tasks.detection.region_detector import VlmReadout
from ovperc.text.region_scores import Fusion

_PARTS = ("tiler", "vlm", "fusion", "rpn")


@dataclass(frozen=True)
class DetectionMethod:
    """One method of detection.

    Attributes:
        name: stem of its file.
        tiler: ``dict(type="Tiler", ...)``; the whole image is one window, and both sides are whole patches.
        title: first line of the file's docstring.
        heads: trained heads, a catalogue name or a file; None for a training-free detector.
        proposer: ``dict(type=NAME, ...)`` that finds regions in place of the heads; ``mini`` in it names the weights
            that are used beside clip-mini.
        vlm: fields of `VlmReadout`.
        fusion: fields of `Fusion`.
        rpn: keywords of the heads' proposals: ``before``, ``after``, ``rpn_iou``.
        nms_iou: overlap above which the lesser of two boxes of one class goes.
        keep: most objects per image.
        min_score: objects score more than this.
        compose: phrases are the sum of their words; None leaves it to the heads.
        templates: name of a prompt set, or own patterns.
        pos_embed: how position tables are resized (a mode of ``load_clip``).
        supervision: what the heads were trained with, for reports.
        mini: fields that change on the shipped small towers: tower name -> field -> value.

    Raises:
        ValueError: a part of the wrong kind, an unknown choice, or nothing to find regions with.
    """

    name: str
    tiler: Mapping[str, Any]
    title: str = ""
    heads: str | None = None
    proposer: Mapping[str, Any] | None = None
    vlm: Mapping[str, Any] = field(default_factory=dict)
    fusion: Mapping[str, Any] = field(default_factory=dict)
    rpn: Mapping[str, Any] = field(default_factory=dict)
    nms_iou: float = 0.5
    keep: int = 100
    min_score: float = 1e-4
    compose: bool | None = None
    templates: str | tuple[str, ...] = "openai80"
    pos_embed: str = "size"
    supervision: str = ""
    mini: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in (*_PARTS, "mini"):
            if not isinstance(getattr(self, part), Mapping):
                raise ValueError(f"method {self.name!r}: {part} must be a dict; got {getattr(self, part)!r}")
        if self.proposer is not None and not isinstance(self.proposer.get("type"), str):
            raise ValueError(f"method {self.name!r}: proposer must be dict(type=NAME, ...); got {self.proposer!r}")
        for name, kind in (("vlm", VlmReadout), ("fusion", Fusion)):
            self._check_fields(name, kind)
        if not 0 < self.nms_iou <= 1 or self.keep < 1 or self.min_score < 0:
            raise ValueError(
                f"method {self.name!r}: nms_iou lies in (0, 1], keep is at least 1 and min_score not negative; got "
                f"{self.nms_iou}, {self.keep}, {self.min_score}"
            )

    def _check_fields(self, part: str, kind: type) -> None:
        known = [entry.name for entry in dataclasses.fields(kind)]
        for key in getattr(self, part):
            if key not in known:
                raise ValueError(f"method {self.name!r}: {part} has no {key!r}; {suggest(key, known)}")
        kind(**getattr(self, part))

    def on(self, arch: str, asked: Collection[str] = ()) -> DetectionMethod:
        """The method as it is used on an architecture.

        Args:
            arch: such as ``"clip-mini"``.
            asked: fields that the user chose by hand; they stay as they are.
        """
        changes = {name: value for name, value in self.mini.get(arch, {}).items() if name not in asked}
        known = {entry.name for entry in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise ValueError(f"method {self.name!r}: mini[{arch!r}] has no field {name!r}; {suggest(name, known)}")
        return dataclasses.replace(self, **changes)
