"""Raw anomaly scores on the patch grid, from which maps of any size are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class AnomalyScore:
    """Raw scores of an image, comparable across images of a predictor and not normalised per image.

    Attributes:
        grid: ``(h, w)`` float32, one score per patch of the image (tiles merged), higher is more anomalous.
            Methods whose map is not linear in one grid keep one per layer, ``(K, h, w)``, which
            ``predictor.upsampler.upsample(grid, out_hw)`` combines.
        image_score: score of the image, higher is more anomalous.
        original_hw: height and width of the image, px.
    """

    grid: np.ndarray
    image_score: float
    original_hw: tuple[int, int]
