"""Average precision on federated data sets, where images are evaluated on some classes only (LVIS, CVPR 2019).

A class is evaluated in an image only if it is known to be present (annotated) or absent (``neg_category_ids``). If it
is not annotated exhaustively (``not_exhaustive_category_ids``), unmatched detections are ignored. At most 300
detections per image are evaluated, over all classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ovperc.data.detection.detections import ImageDetections, result_rows
from ovperc.data.detection.sample import DetectionTruth, Rle
from ovperc.evaluation.metrics.detection import ClassPrecision, Kind, mean_of_present, refuse_repeats
from ovperc.io.coco import to_rle

MAX_DETECTIONS = 300
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "s": (0.0, 32.0**2),
    "m": (32.0**2, 96.0**2),
    "l": (96.0**2, 1e10),
}


@dataclass(frozen=True)
class FederatedPrecision:
    """Results on a federated data set.

    Attributes:
        classes: per class, over all areas.
        by_area: ``s``, ``m``, ``l`` -> ``(C,)`` average precision; -1 for classes without such objects.
    """

    classes: ClassPrecision
    by_area: Mapping[str, np.ndarray]

    def scores(self) -> dict[str, float]:
        """In percent: ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, and ``APr``, ``APc``, ``APf`` by group."""
        classes = self.classes
        found = {name: mean_of_present(getattr(classes, name.lower())) for name in ("AP", "AP50", "AP75")}
        found |= {f"AP{area}": mean_of_present(values) for area, values in self.by_area.items()}
        return found | {f"AP{name}": mean_of_present(classes.ap[list(rows)]) for name, rows in classes.groups.items()}


def evaluate_lvis(
    truth: DetectionTruth,
    detections: Sequence[ImageDetections],
    kind: Kind = "segm",
    max_detections: int = MAX_DETECTIONS,
) -> FederatedPrecision:
    """Evaluates detections like LVIS's own evaluator.

    Args:
        truth: images with ``neg_category_ids`` and ``not_exhaustive_category_ids``; groups are ``r``, ``c``, ``f``.
        detections: at most one entry per image; the highest scores are kept.
        kind: ``segm`` for masks, or ``bbox``.
        max_detections: maximum per image, over all classes.

    Raises:
        ValueError: see :func:`ovperc.evaluation.metrics.detection.evaluate_coco`; or an image lacks its federated
            lists.
    """
    refuse_repeats(detections)
    pairs = _Pairs(truth, kind)
    pairs.add_detections(result_rows([found.best(max_detections) for found in detections], truth, kind))
    precision = {area: np.full((len(THRESHOLDS), len(RECALLS), len(truth.names)), -1.0) for area in AREAS}
    for label, number in enumerate(truth.category_ids):
        judged = pairs.judged(number)
        for area, limits in AREAS.items():
            curve = _precision_curve([_match(pair, limits) for pair in judged])
            if curve is not None:
                precision[area][:, :, label] = curve
    every = precision["all"]
    classes = ClassPrecision(
        truth.names, *(_by_class(part) for part in (every, every[:1], every[5:6])), groups=truth.groups
    )
    return FederatedPrecision(classes, {area: _by_class(precision[area]) for area in AREAS if area != "all"})


@dataclass
class _Pair:
    """Annotations and detections of a class in an image.

    Attributes:
        truth, found: shapes (``xywh`` boxes or RLE masks).
        truth_area, found_area: px.
        skipped: whether each annotation is ignored.
        scores: detection scores.
        open_ended: whether unmatched detections are ignored.
    """

    open_ended: bool
    truth: list[Any] = field(default_factory=list)
    truth_area: list[float] = field(default_factory=list)
    skipped: list[bool] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)
    found_area: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    overlap: np.ndarray | None = None

    def settle(self) -> None:
        """Sorts detections by descending score, and computes overlaps once for all areas."""
        order = np.argsort(-np.array(self.scores), kind="stable")
        self.found, self.found_area, self.scores = (
            [part[index] for index in order] for part in (self.found, self.found_area, self.scores)
        )
        if self.found and self.truth:
            self.overlap = np.asarray(coco_mask.iou(self.found, self.truth, [0] * len(self.truth)))
        else:
            self.overlap = np.zeros((len(self.found), len(self.truth)))


class _Pairs:
    """All evaluated pairs of class and image."""

    def __init__(self, truth: DetectionTruth, kind: Kind) -> None:
        self._kind = kind
        self._sizes = {row["id"]: (row["height"], row["width"]) for row in truth.images}
        self._open: dict[int, frozenset[int]] = {}
        self._negative: dict[int, frozenset[int]] = {}
        for row in truth.images:
            if "neg_category_ids" not in row or "not_exhaustive_category_ids" not in row:
                raise ValueError(
                    f"image {row['id']} has no neg_category_ids or not_exhaustive_category_ids; this is not an LVIS "
                    "annotation file: use the COCO evaluation"
                )
            self._open[row["id"]] = frozenset(row["not_exhaustive_category_ids"])
            self._negative[row["id"]] = frozenset(row["neg_category_ids"])
        self._by_class: dict[int, dict[int, _Pair]] = defaultdict(dict)
        known = set(truth.category_ids)
        for row in truth.annotations:
            if row["category_id"] in known:
                pair = self._pair(row["category_id"], row["image_id"])
                pair.truth.append(self._shape(row))
                pair.truth_area.append(float(row["area"]))
                pair.skipped.append(bool(row.get("ignore", False)))

    def _pair(self, category: int, image: int) -> _Pair:
        pairs = self._by_class[category]
        if image not in pairs:
            pairs[image] = _Pair(category in self._open[image])
        return pairs[image]

    def _shape(self, row: Mapping[str, Any]) -> Any:
        if self._kind == "bbox":
            return [float(value) for value in row["bbox"]]
        return to_rle(row["segmentation"], self._sizes[row["image_id"]])

    def add_detections(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds the evaluated detections; the rest is dropped."""
        for row in rows:
            category, image = row["category_id"], row["image_id"]
            if image not in self._by_class[category] and category not in self._negative[image]:
                continue
            pair = self._pair(category, image)
            shape = self._shape(row)
            pair.found.append(shape)
            pair.found_area.append(_area(shape))
            pair.scores.append(row["score"])

    def judged(self, category: int) -> list[_Pair]:
        """Pairs of a class, in order of image id."""
        pairs = [self._by_class[category][image] for image in sorted(self._by_class[category])]
        for pair in pairs:
            pair.settle()
        return pairs


def _area(shape: list[float] | Rle) -> float:
    return shape[2] * shape[3] if isinstance(shape, list) else float(coco_mask.area(shape))


@dataclass(frozen=True)
class _Matches:
    """Matching result of a pair: scores ``(D,)``, matched and ignored ``(T, D)`` bool, and evaluated annotations."""

    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    counted: int


def _match(pair: _Pair, limits: tuple[float, float]) -> _Matches:
    """Greedy matching by descending score at every threshold, preferring annotations that are not ignored."""
    low, high = limits
    area = np.array(pair.truth_area)
    skip = np.array(pair.skipped, bool) | (area < low) | (area > high)
    order = np.argsort(skip, kind="stable")
    skip, overlap = skip[order], pair.overlap[:, order]
    scores = np.array(pair.scores)
    found_area = np.array(pair.found_area)
    outside = (found_area < low) | (found_area > high) | pair.open_ended
    matched, ignored = (np.zeros((len(THRESHOLDS), len(scores)), bool) for _ in range(2))
    free = np.ones((len(THRESHOLDS), len(skip)), bool)
    for index in range(len(scores) if len(skip) else 0):
        partner, has_one = _partners(overlap[index], free, skip)
        steps = np.flatnonzero(has_one)
        free[steps, partner[steps]] = False
        matched[steps, index] = True
        ignored[steps, index] = skip[partner[steps]]
    return _Matches(scores, matched, ignored | (~matched & outside), int((~skip).sum()))


def _partners(overlap: np.ndarray, free: np.ndarray, skip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unmatched annotation with the largest overlap at every threshold, ``(T,)``, and whether there is one.

    Annotations that are not ignored take precedence; ties are resolved to the last one.
    """
    fits = free & (overlap >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None])
    worth = np.where(fits, overlap + 2.0 * ~skip, -1.0)
    partner = worth.shape[1] - 1 - np.argmax(worth[:, ::-1], axis=1)
    return partner, fits.any(axis=1)


def _precision_curve(matches: Sequence[_Matches]) -> np.ndarray | None:
    """Precision at the recalls, ``(T, R)``; ``None`` if there are no annotations to evaluate."""
    counted = sum(match.counted for match in matches)
    if counted == 0:
        return None
    scores = np.concatenate([match.scores for match in matches])
    order = np.argsort(-scores, kind="stable")
    matched = np.concatenate([match.matched for match in matches], axis=1)[:, order]
    ignored = np.concatenate([match.ignored for match in matches], axis=1)[:, order]
    right = np.cumsum(matched & ~ignored, axis=1, dtype=np.float64)
    wrong = np.cumsum(~matched & ~ignored, axis=1, dtype=np.float64)
    recall = right / counted
    precision = right / (right + wrong + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    curve = np.zeros((len(THRESHOLDS), len(RECALLS)))
    for step in range(len(THRESHOLDS)):
        places = np.searchsorted(recall[step], RECALLS, side="left")
        reached = places < recall.shape[1]
        curve[step, reached] = precision[step, places[reached]]
    return curve


def _by_class(precision: np.ndarray) -> np.ndarray:
    """``(T, R, C)`` to ``(C,)``; -1 stays -1."""
    return precision.mean(axis=(0, 1))
