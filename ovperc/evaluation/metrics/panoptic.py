"""Panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019, eq. 1), counted as panopticapi counts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ovperc.core.panoptic import VOID_ID, PanopticMap

_MATCH_IOU = 0.5
_IGNORED_SHARE = 0.5


@dataclass(frozen=True)
class ClassQuality:
    """Quality of one class, or the mean over several; shares in 0..1.

    Attributes:
        pq: panoptic quality, ``sq * rq``.
        sq: segmentation quality, mean IoU of the matches.
        rq: recognition quality, F1 of the matches.
        classes: classes that the mean is of; those that occur neither in truth nor in predictions are left out.
    """

    pq: float
    sq: float
    rq: float
    classes: int = 1


@dataclass
class PanopticQuality:
    """Counts of matches, added up over images.

    Attributes:
        titles: class attribute, figure -> its title in tables, in their order.
        num_classes: of the label space.
        counts: ``(C, 4)`` float64: sum of the IoU of matches, matches, unmatched predictions, unmatched annotations.
    """

    titles: ClassVar[Mapping[str, str]] = {
        "PQ": "PQ", "PQ.thing": "PQ, things", "PQ.stuff": "PQ, stuff",
        "SQ": "SQ", "SQ.thing": "SQ, things", "SQ.stuff": "SQ, stuff",
        "RQ": "RQ", "RQ.thing": "RQ, things", "RQ.stuff": "RQ, stuff",
    }  # fmt: skip

    num_classes: int
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.num_classes, 4))

    def count(self, predicted: PanopticMap, truth: PanopticMap) -> np.ndarray:
        """Counts of one image, ``(C, 4)`` as in ``counts``.

        A prediction and an annotation of one class match where their IoU is above 0.5; void pixels of the truth are
        left out of the prediction's area. Crowds match nothing. A prediction without match is no error where more
        than half of it lies on void or on the crowd of its class (of several, the last one annotated).

        Raises:
            ValueError: maps of different sizes, or a label that is no class.
        """
        self._check(predicted, truth)
        overlaps = _overlaps(predicted, truth)
        areas, truth_areas = predicted.areas(), truth.areas()
        counts = np.zeros((self.num_classes, 4))
        matched: set[int] = set()
        found: set[int] = set()
        labels = {segment.id: segment.label for segment in predicted.segments}
        annotated = {segment.id: segment for segment in truth.segments}
        for (true_id, predicted_id), shared in overlaps.items():
            if VOID_ID in (true_id, predicted_id):
                continue
            segment = annotated[true_id]
            if segment.crowd or segment.label != labels[predicted_id]:
                continue
            union = areas[predicted_id] - overlaps.get((VOID_ID, predicted_id), 0) + truth_areas[true_id] - shared
            if shared / union > _MATCH_IOU:
                counts[segment.label, :2] += shared / union, 1
                matched.add(true_id)
                found.add(predicted_id)
        crowds = {segment.label: segment.id for segment in truth.segments if segment.crowd}
        for segment in predicted.segments:
            ignored = overlaps.get((VOID_ID, segment.id), 0)
            if segment.label in crowds:
                ignored += overlaps.get((crowds[segment.label], segment.id), 0)
            if segment.id not in found and ignored / areas[segment.id] <= _IGNORED_SHARE:
                counts[segment.label, 2] += 1
        for segment in truth.segments:
            if not segment.crowd and segment.id not in matched:
                counts[segment.label, 3] += 1
        return counts

    def add(self, counts: np.ndarray) -> None:
        """Adds the counts of an image."""
        self.counts += counts

    def of_class(self, label: int) -> ClassQuality | None:
        """Quality of a class; None where it occurs neither in truth nor in predictions."""
        iou, matches, extra, missed = self.counts[label]
        total = matches + (extra + missed) / 2
        if not total:
            return None
        return ClassQuality(iou / total, iou / matches if matches else 0.0, matches / total)

    def mean(self, labels: Sequence[int] | None = None) -> ClassQuality:
        """Mean quality of some classes, or of all of them; zeros where none occurs."""
        found = [self.of_class(label) for label in (range(self.num_classes) if labels is None else labels)]
        present = [quality for quality in found if quality is not None]
        if not present:
            return ClassQuality(0.0, 0.0, 0.0, 0)
        means = np.mean([(quality.pq, quality.sq, quality.rq) for quality in present], axis=0).tolist()
        return ClassQuality(*means, len(present))

    def figures(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """PQ, SQ and RQ in percent, of all classes and of each group (``PQ.thing``)."""
        figures = {}
        for suffix, labels in (("", None), *((f".{name}", labels) for name, labels in groups.items())):
            quality = self.mean(labels)
            values = (("PQ", quality.pq), ("SQ", quality.sq), ("RQ", quality.rq))
            figures |= {f"{name}{suffix}": 100.0 * value for name, value in values}
        return figures

    def _check(self, predicted: PanopticMap, truth: PanopticMap) -> None:
        if predicted.size_hw != truth.size_hw:
            raise ValueError(
                f"prediction and annotation must have one size; got {predicted.size_hw} and {truth.size_hw}"
            )
        for segment in (*predicted.segments, *truth.segments):
            if not 0 <= segment.label < self.num_classes:
                raise ValueError(f"labels must lie in 0..{self.num_classes - 1}; segment {segment.id}: {segment.label}")


def _overlaps(predicted: PanopticMap, truth: PanopticMap) -> dict[tuple[int, int], int]:
    """``(true id, predicted id)`` -> shared pixels, void included; pairs that share none are left out."""
    pairs = (truth.ids.astype(np.int64) << 32) | predicted.ids.astype(np.int64)
    codes, counts = np.unique(pairs, return_counts=True)
    return {(code >> 32, code & 0xFFFFFFFF): count for code, count in zip(codes.tolist(), counts.tolist(), strict=True)}
