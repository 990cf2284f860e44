"""From named instances and a semantic map to a panoptic map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovperc.core.panoptic import VOID_ID, PanopticMap, Segment
from ovperc.tasks.panoptic.instances import Instance


@dataclass(frozen=True)
class MergeRule:
    """The heuristic of Kirillov et al. (Panoptic Segmentation, CVPR 2019, section 7 and panopticapi).

    Instances are placed by falling score, each on the pixels that no better one holds; what is left goes to the stuff
    classes of the semantic map.

    Attributes:
        min_score: instances with lower scores are left out.
        max_overlap: an instance is left out where better ones hold more than this share of it.
        min_stuff_area: least area of a stuff segment, as a share of the image; smaller ones are void.
    """

    min_score: float = 0.5
    max_overlap: float = 0.5
    min_stuff_area: float = 0.013

    def __post_init__(self) -> None:
        for name in ("min_score", "max_overlap", "min_stuff_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]; got {getattr(self, name)}")

    def merge(
        self, instances: Sequence[Instance], labels: np.ndarray, confidence: np.ndarray, is_stuff: np.ndarray
    ) -> PanopticMap:
        """The panoptic map of an image.

        Args:
            instances: of thing classes; equal scores keep their order.
            labels: ``(H, W)`` integers, the semantic map.
            confidence: ``(H, W)`` float in 0..1, its confidence.
            is_stuff: ``(C,)`` bool, label -> whether it is a stuff class.
        """
        ids = np.full(labels.shape, VOID_ID, np.int32)
        segments: list[Segment] = []
        for instance in sorted(instances, key=lambda entry: -entry.score):
            if instance.score < self.min_score:
                break
            mask = instance.mask()
            free = mask & (ids == VOID_ID)
            area, left = int(mask.sum()), int(free.sum())
            if not left or area - left > self.max_overlap * area:
                continue
            segments.append(Segment(len(segments) + 1, instance.label, instance.score))
            ids[free] = len(segments)
        open_labels = np.where((ids == VOID_ID) & is_stuff[labels], labels, -1)
        for label in np.unique(open_labels[open_labels >= 0]).tolist():
            stuff = open_labels == label
            if stuff.sum() < self.min_stuff_area * labels.size:
                continue
            segments.append(Segment(len(segments) + 1, label, float(confidence[stuff].mean(dtype=np.float64))))
            ids[stuff] = len(segments)
        return PanopticMap(ids, tuple(segments))
