"""What a detector found, as the evaluators read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovperc.data.detection.sample import DetectionTruth, Rle


@dataclass(frozen=True)
class ImageDetections:
    """All that was found in one image.

    Attributes:
        image_id: of the annotation file.
        boxes: ``(N, 4)`` float, ``x0, y0, x1, y1`` px of the image's own size; one without area matches nothing.
        scores: ``(N,)`` float; only their order counts.
        labels: ``(N,)`` integers, index into the words that were asked for.
        masks: one COCO run-length code per box, or none at all.

    Raises:
        ValueError: lengths differ, or a box or score is not finite.
    """

    image_id: int
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[Rle, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.labels.shape != (count,) or len(self.masks) not in (0, count):
            raise ValueError(
                f"detections of image {self.image_id} do not fit together: {count} scores, boxes {self.boxes.shape}, "
                f"{len(self.labels)} labels and {len(self.masks)} masks"
            )
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise ValueError(f"detections of image {self.image_id} hold boxes or scores that are not finite")

    def best(self, count: int) -> ImageDetections:
        """The ``count`` highest scores, highest first; equal ones keep their order."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        masks = tuple(self.masks[index] for index in order) if self.masks else ()
        return ImageDetections(self.image_id, self.boxes[order], self.scores[order], self.labels[order], masks)

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it; :meth:`from_plain` reads it back exactly."""
        return {
            "image_id": self.image_id,
            "boxes": self.boxes.astype(np.float64).tolist(),
            "scores": self.scores.astype(np.float64).tolist(),
            "labels": self.labels.tolist(),
            "masks": [{"size": list(mask["size"]), "counts": _text(mask["counts"])} for mask in self.masks],
        }

    @classmethod
    def from_plain(cls, row: Mapping[str, Any]) -> ImageDetections:
        """Reads what :meth:`to_plain` gave."""
        return cls(
            int(row["image_id"]),
            np.array(row["boxes"], np.float64).reshape(-1, 4),
            np.array(row["scores"], np.float64),
            np.array(row["labels"], np.int64),
            tuple(row["masks"]),
        )


def _text(counts: str | bytes) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


def result_rows(detections: Sequence[ImageDetections], truth: DetectionTruth, kind: str) -> list[dict[str, Any]]:
    """Rows of a COCO result file; ``kind`` is ``bbox`` or ``segm``.

    Rows of masks carry no box, so that areas are those of the masks.

    Raises:
        ValueError: an image or label that the truth does not have, or masks are asked for and there are none.
    """
    known = {row["id"] for row in truth.images}
    rows: list[dict[str, Any]] = []
    for found in detections:
        if found.image_id not in known:
            raise ValueError(f"detections of image {found.image_id}, which is not in the annotation file")
        if len(found.labels) and not 0 <= found.labels.min() <= found.labels.max() < len(truth.names):
            raise ValueError(f"labels of image {found.image_id} must lie in 0..{len(truth.names) - 1}")
        if kind == "segm" and len(found.masks) != len(found.scores):
            raise ValueError(f"masks are scored, but image {found.image_id} has boxes alone; score bbox instead")
        for index, label in enumerate(found.labels):
            row = {
                "image_id": found.image_id,
                "category_id": truth.category_ids[label],
                "score": float(found.scores[index]),
            }
            x0, y0, x1, y1 = map(float, found.boxes[index])
            shape = {"segmentation": found.masks[index]} if kind == "segm" else {"bbox": [x0, y0, x1 - x0, y1 - y0]}
            rows.append({**row, **shape})
    return rows
