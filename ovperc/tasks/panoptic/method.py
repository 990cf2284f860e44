"""Methods of panoptic segmentation: a method of segmentation, a source of masks, and the rule that merges both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ovperc.core.naming import suggest
from ovperc.tasks.panoptic.merging import MergeRule
from ovperc.tasks.segmentation.method import SegMethod


@dataclass(frozen=True, kw_only=True)
class PanopticMethod(SegMethod):
    """One method of panoptic segmentation; its other fields are those of the semantic map.

    Attributes:
        proposer: ``dict(type=NAME, ...)`` of a proposer with masks, which finds instances.
        merge: fields of `MergeRule`.

    Raises:
        ValueError: a part of the wrong type, or a number out of range.
    """

    parts = (*SegMethod.parts, "proposer")
    settings = (*SegMethod.settings, "merge")

    proposer: Mapping[str, Any]
    merge: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [entry.name for entry in dataclasses.fields(MergeRule)]
        for key in self.merge:
            if key not in known:
                raise ValueError(f"method {self.name!r}: merge has no {key!r}; {suggest(key, known)}")
        MergeRule(**self.merge)
