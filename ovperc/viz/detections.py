"""Drawing of detections: masks, boxes, and class names with scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from ovperc.viz.palette import palette
from ovperc.viz.text import font_for, text_width_px

if TYPE_CHECKING:
    from ovperc.tasks.detection.prediction import DetPrediction

_MIN_LONG_SIDE_PX = 448


def draw_detections(
    image: np.ndarray, prediction: DetPrediction, min_score: float = 0.0, alpha: float = 0.45, max_objects: int = 50
) -> Image.Image:
    """Draws the highest-scoring objects on an image; small images are enlarged.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        prediction: prediction for the image.
        min_score: objects with a lower score are not drawn.
        alpha: opacity of masks, 0 to 1.
        max_objects: maximum number of objects drawn.

    Raises:
        ValueError: the image has another size than the prediction.
    """
    if image.shape != (*prediction.size_hw, 3):
        raise ValueError(f"the prediction was made from an image of {prediction.size_hw}; got {image.shape}")
    shown = prediction.above(min_score)
    shown = shown.subset(np.arange(min(len(shown), max_objects)))
    colours = palette(len(prediction.names))
    canvas = image.astype(np.float32)
    if shown.masks is not None:
        for index in reversed(range(len(shown))):
            mask = shown.mask(index)
            canvas[mask] += alpha * (colours[shown.labels[index]] - canvas[mask])
    factor = max(1, round(_MIN_LONG_SIDE_PX / max(prediction.size_hw)))
    height, width = prediction.size_hw
    picture = Image.fromarray(canvas.astype(np.uint8)).resize((width * factor, height * factor))
    brush = ImageDraw.Draw(picture)
    font_px = int(min(max(max(picture.size) / 40, 12), 40))
    for index in reversed(range(len(shown))):
        colour = tuple(int(value) for value in colours[shown.labels[index]])
        label = f"{shown.found[index]} {shown.scores[index]:.2f}"
        _draw_box(brush, shown.boxes[index] * factor, colour, label, font_px, picture.size)
    return picture


def _draw_box(
    brush: ImageDraw.ImageDraw,
    box: np.ndarray,
    colour: tuple[int, ...],
    label: str,
    font_px: int,
    size_wh: tuple[int, int],
) -> None:
    x0, y0, x1, y1 = box.tolist()
    brush.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=max(1, font_px // 8))
    width, height = text_width_px(label, font_px) + font_px // 2, int(1.3 * font_px)
    left = min(max(0.0, x0), max(0, size_wh[0] - width))
    top = y0 - height if y0 >= height else y0
    brush.rectangle((left, top, left + width, top + height), fill=colour)
    dark = sum(colour) > 3 * 140
    ink = (20, 20, 20) if dark else (255, 255, 255)
    brush.text((left + font_px // 4, top + height / 2), label, fill=ink, font=font_for(label, font_px), anchor="lm")
