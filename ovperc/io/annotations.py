"""Labelled objects of an image, from which every annotation format is written.

OpenCV and pycocotools are imported only where masks are encoded or traced; objects with only a box need neither.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MIN_POINTS = 3


@dataclass(frozen=True)
class Annotation:
    """A labelled object.

    Attributes:
        label: index into the names of its :class:`ImageAnnotations`.
        score: confidence of the detection.
        box_xyxy: left, top, right, bottom in pixels; right and bottom are exclusive.
        mask: COCO RLE at image size; None for an object with only a box.
        area_px: area of the mask, or of the box if there is none.
    """

    label: int
    score: float
    box_xyxy: tuple[float, float, float, float]
    mask: Mapping[str, Any] | None
    area_px: float

    def outlines(self) -> list[np.ndarray]:
        """Outer contours of the mask's components, each ``(k, 2)`` integer x, y; holes are dropped.

        Empty if there is no mask, or if no component has a contour of at least three points.
        """
        from ovperc.io.coco import decode_rle

        return [] if self.mask is None else mask_outlines(decode_rle(self.mask))


@dataclass(frozen=True)
class ImageAnnotations:
    """The objects of one image.

    Attributes:
        names: label -> name.
        size_hw: height and width of the image, px.
        source: path or name of the image; empty if it has none.
        objects: the annotations.
    """

    names: tuple[str, ...]
    size_hw: tuple[int, int]
    source: str
    objects: tuple[Annotation, ...]


def mask_annotation(label: int, score: float, mask: np.ndarray) -> Annotation:
    """Makes an object from its mask.

    Args:
        label: index into names.
        score: confidence of the detection.
        mask: ``(H, W)`` bool, not empty.
    """
    from ovperc.io.coco import encode_rle

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Annotation(label, score, box, encode_rle(mask), float(mask.sum()))


def annotate_labels(
    labels: np.ndarray, confidence: np.ndarray, names: Sequence[str], source: str, skip: Collection[int] = ()
) -> ImageAnnotations:
    """One object per class in a label map.

    Args:
        labels: ``(H, W)`` integers.
        confidence: ``(H, W)`` float; the score of an object is its mean over the mask.
        names: label -> name.
        source: path or name of the image.
        skip: labels to leave out, such as background.
    """
    objects = []
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=len(names))).tolist():
        if label not in skip:
            mask = labels == label
            objects.append(mask_annotation(label, float(confidence[mask].mean(dtype=np.float64)), mask))
    height, width = labels.shape
    return ImageAnnotations(tuple(names), (height, width), source, tuple(objects))


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Outer contours of the components of a mask ``(H, W)`` bool, each ``(k, 2)`` integer x, y; holes are dropped."""
    import cv2

    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [outline[:, 0] for outline in found if len(outline) >= _MIN_POINTS]
