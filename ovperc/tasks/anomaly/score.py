"""What a head says of an image: a small grid of scores, from which maps of any size are rendered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class AnomalyScore:
    """Raw scores of one image, comparable between images of one predictor; nothing is stretched per image.

    Attributes:
        grid: ``(h, w)`` float32, one score per patch of the whole image (tiles are merged), higher is more
            anomalous. Methods whose map is no linear function of one grid keep one per layer, ``(K, h, w)``; only
            ``predictor.upsampler.upsample(grid, out_hw)`` needs to know.
        image_score: of the image as a whole, higher is more anomalous.
        original_hw: height and width of the image, px.
    """

    grid: np.ndarray
    image_score: float
    original_hw: tuple[int, int]
