"""COCO average precision, with base and novel classes (OV-COCO, Zareian et al., CVPR 2021)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ovperc.data.detection.detections import ImageDetections, result_rows
from ovperc.data.detection.sample import DetectionTruth
from ovperc.io.coco import to_rle

Kind = Literal["bbox", "segm"]


@dataclass(frozen=True)
class ClassPrecision:
    """Average precision per class; -1 for absent classes.

    Attributes:
        names: label -> class name.
        ap: ``(C,)`` float64 in 0..1, mean over IoU 0.5 to 0.95.
        ap50, ap75: at IoU 0.5 and 0.75.
        groups: subset name -> labels.
    """

    names: tuple[str, ...]
    ap: np.ndarray
    ap50: np.ndarray
    ap75: np.ndarray
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def scores(self) -> dict[str, float]:
        """Means over present classes, in percent: ``AP``, ``AP50``, ``AP75``, overall and per group."""
        found = {}
        for name, values in (("AP50", self.ap50), ("AP", self.ap), ("AP75", self.ap75)):
            for group, labels in (("", range(len(self.names))), *self.groups.items()):
                found[f"{name}.{group}" if group else name] = mean_of_present(values[list(labels)])
        return found


def mean_of_present(values: np.ndarray) -> float:
    """Mean in percent over entries above -1; NaN if there are none."""
    present = values[values > -1]
    return 100.0 * float(present.mean()) if len(present) else float("nan")


def evaluate_coco(
    truth: DetectionTruth,
    detections: Sequence[ImageDetections],
    kind: Kind = "bbox",
    max_detections: Sequence[int] = (1, 10, 100),
) -> ClassPrecision:
    """Evaluates detections with pycocotools.

    Args:
        truth: annotations of all evaluated images, including images without detections.
        detections: at most one entry per image.
        kind: ``bbox``, or ``segm`` for masks.
        max_detections: limits per image and class; the last one is reported.

    Raises:
        ValueError: an image has two entries or is unknown, or a label is outside the vocabulary.
    """
    refuse_repeats(detections)
    rows = result_rows(detections, truth, kind)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints to standard output
        annotations = load_coco(truth)
        results = annotations.loadRes(rows) if rows else _without_results(truth)
        run = COCOeval(annotations, results, kind)
        run.params.catIds = list(truth.category_ids)
        run.params.imgIds = sorted(row["id"] for row in truth.images)
        run.params.maxDets = list(max_detections)
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class; all areas
    return ClassPrecision(
        truth.names,
        _mean_over_curve(precision),
        _mean_over_curve(precision[_at(run.params.iouThrs, 0.5)]),
        _mean_over_curve(precision[_at(run.params.iouThrs, 0.75)]),
        truth.groups,
    )


def refuse_repeats(detections: Sequence[ImageDetections]) -> None:
    """Raises ValueError if an image has two entries."""
    seen: set[int] = set()
    for found in detections:
        if found.image_id in seen:
            raise ValueError(f"image {found.image_id} has two entries of detections; expected one per image")
        seen.add(found.image_id)


def load_coco(truth: DetectionTruth) -> COCO:
    """The annotations as a pycocotools index."""
    sizes = {row["id"]: (row["height"], row["width"]) for row in truth.images}
    document = truth.document()
    for row in document["annotations"]:
        if row.get("segmentation"):
            row["segmentation"] = to_rle(row["segmentation"], sizes[row["image_id"]])
    return _indexed(document)


def _without_results(truth: DetectionTruth) -> COCO:
    """Handles empty results, which pycocotools rejects."""
    return _indexed({**truth.document(), "annotations": []})


def _indexed(document: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = document
    coco.createIndex()
    return coco


def _at(thresholds: np.ndarray, value: float) -> slice:
    index = int(np.argmin(np.abs(thresholds - value)))
    return slice(index, index + 1)


def _mean_over_curve(precision: np.ndarray) -> np.ndarray:
    """``(T, R, C)`` to ``(C,)``: mean over IoUs and recalls, -1 for absent classes."""
    flat = precision.reshape(-1, precision.shape[-1])
    return np.where((flat > -1).any(axis=0), np.maximum(flat, 0).mean(axis=0), -1.0)
