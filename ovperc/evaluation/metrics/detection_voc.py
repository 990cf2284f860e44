"""PASCAL VOC average precision (Everingham et al., IJCV 2010, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from ovperc.data.detection.detections import ImageDetections, result_rows
from ovperc.data.detection.sample import DetectionTruth
from ovperc.evaluation.metrics.detection import ClassPrecision, refuse_repeats


def evaluate_voc(
    truth: DetectionTruth, detections: Sequence[ImageDetections], eleven_points: bool = True
) -> ClassPrecision:
    """Evaluates detections: each is compared with the object it overlaps most, matched or not.

    Duplicate detections of an object are false positives, even if another object would match; difficult objects
    (crowds) are ignored.

    Args:
        truth: annotations.
        detections: at most one entry per image.
        eleven_points: mean precision at recalls 0, 0.1, ... 1 (VOC 2007), or the area under the curve (since 2010).

    Returns:
        ``ap50`` and ``ap75``; ``ap`` is their mean over IoU 0.5 to 0.95.
    """
    refuse_repeats(detections)
    rows = result_rows(detections, truth, "bbox")
    thresholds = np.linspace(0.5, 0.95, 10)
    table = np.full((len(thresholds), len(truth.names)), -1.0)
    for label, number in enumerate(truth.category_ids):
        objects: dict[int, list[dict]] = {}
        for row in truth.annotations:
            if row["category_id"] == number:
                objects.setdefault(row["image_id"], []).append(dict(row))
        counted = sum(not row["iscrowd"] for rows_ in objects.values() for row in rows_)
        found = sorted((row for row in rows if row["category_id"] == number), key=lambda row: -row["score"])
        if not counted:
            continue
        nearest = [_nearest(row, objects.get(row["image_id"], [])) for row in found]
        for step, threshold in enumerate(thresholds):
            table[step, label] = _precision(found, nearest, objects, counted, threshold, eleven_points)
    return ClassPrecision(truth.names, _mean(table), table[0], table[5], truth.groups)


def _nearest(row: dict, objects: list[dict]) -> tuple[float, int]:
    """The largest overlap of a detection with an object, and the object's index; overlap 0 if there is none."""
    if not objects:
        return 0.0, -1
    overlap = coco_mask.iou([row["bbox"]], [item["bbox"] for item in objects], [0] * len(objects))[0]
    best = int(np.argmax(overlap))
    return float(overlap[best]), best


def _precision(
    found: list[dict],
    nearest: list[tuple[float, int]],
    objects: dict[int, list[dict]],
    counted: int,
    threshold: float,
    eleven_points: bool,
) -> float:
    taken: set[tuple[int, int]] = set()
    right, wrong = np.zeros(len(found)), np.zeros(len(found))
    for index, (row, (overlap, best)) in enumerate(zip(found, nearest, strict=True)):
        key = (row["image_id"], best)
        if overlap < threshold or best < 0:
            wrong[index] = 1
        elif objects[row["image_id"]][best]["iscrowd"]:
            continue
        elif key in taken:
            wrong[index] = 1
        else:
            taken.add(key)
            right[index] = 1
    recall = np.cumsum(right) / counted
    precision = np.cumsum(right) / np.maximum(np.cumsum(right) + np.cumsum(wrong), 1e-12)
    if eleven_points:
        return float(np.mean([max(precision[recall >= level], default=0.0) for level in np.linspace(0, 1, 11)]))
    envelope = np.maximum.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recall, [1.0]]))
    return float((steps * envelope).sum())


def _mean(table: np.ndarray) -> np.ndarray:
    return np.where(table[0] > -1, table.mean(axis=0), -1.0)
