"""Detections in LabelMe's layout, to be mended by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from ovperc.tasks.detection.prediction import DetPrediction

_VERSION = "5.5.0"
_LEAST_POINTS = 3


def detection_to_labelme(prediction: DetPrediction) -> dict[str, Any]:
    """A LabelMe document of one image; pieces of one object share a ``group_id``."""
    height, width = prediction.size_hw
    shapes = [shape for index in range(len(prediction)) for shape in _shapes(prediction, index)]
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": prediction.source or "",
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _shapes(prediction: DetPrediction, index: int) -> list[dict[str, Any]]:
    common = {
        "label": prediction.found[index],
        "group_id": index,
        "description": f"score {prediction.scores[index]:.4f}",
        "flags": {},
    }
    outlines = [] if prediction.masks is None else mask_outlines(prediction.mask(index))
    if not outlines:
        corners = prediction.boxes[index].astype(float).reshape(2, 2).tolist()
        return [{**common, "points": corners, "shape_type": "rectangle"}]
    return [{**common, "points": outline.astype(float).tolist(), "shape_type": "polygon"} for outline in outlines]


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Outer borders of the pieces of a mask ``(H, W)`` bool, ``(k, 2)`` x, y each; holes are not kept."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [outline[:, 0] for outline in found if len(outline) >= _LEAST_POINTS]
