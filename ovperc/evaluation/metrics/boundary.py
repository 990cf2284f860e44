"""Boundary IoU: intersection over union of the bands along contours (Cheng et al., CVPR 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from ovperc.evaluation.metrics.label_map_metric import LabelMapMetric, Labels

# Paper section 4: a band of 2 % of the image diagonal.
BAND = 0.02


def band_width_px(size_hw: tuple[int, int], band: float = BAND) -> int:
    """Width of the band for an image: a fraction of its diagonal, at least 1 px."""
    return max(1, round(band * math.hypot(*size_hw)))


def contour_band(labels: np.ndarray, width_px: int) -> np.ndarray:
    """Pixels within ``width_px`` (chessboard distance) of the contour of their own class.

    A pixel is outside the band of its class if and only if the window of side ``2 * width_px + 1`` around it contains
    no other label and does not leave the image, that is, no pair of neighbours inside the window differs. Two
    dilations therefore handle all classes at once, instead of one erosion per class.

    Args:
        labels: ``(H, W)`` uint8 or uint16, below the maximum of the dtype.
        width_px: at least 1.

    Returns:
        ``(H, W)`` bool.
    """
    outside = int(np.iinfo(labels.dtype).max)
    padded = cv2.copyMakeBorder(labels, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=outside)
    side, before = 2 * width_px + 1, (width_px, width_px)
    across = np.not_equal(padded[:, 1:], padded[:, :-1]).view(np.uint8)
    down = np.not_equal(padded[1:], padded[:-1]).view(np.uint8)
    near_across = cv2.dilate(across, np.ones((side, side - 1), np.uint8), anchor=before)
    near_down = cv2.dilate(down, np.ones((side - 1, side), np.uint8), anchor=before)
    return (near_across[1:-1, 1:] | near_down[1:, 1:-1]).view(bool)


class BoundaryIoU(LabelMapMetric):
    """Boundary IoU per class, accumulated over images in ``3 * C`` memory.

    Void pixels are removed from ground truth and prediction; their border is a contour in both.

    Args:
        num_classes: ``C``.
        ignore_index: label of ignored pixels.
        band: width of the band as a fraction of the image diagonal.

    Attributes:
        counts: ``(3, C)`` int64: pixels of the ground-truth band, of the predicted band, and of both.
    """

    name = "boundary"
    titles: ClassVar[Mapping[str, str]] = {"bIoU": "boundary mIoU"}

    def __init__(self, num_classes: int, ignore_index: int = 255, band: float = BAND) -> None:
        if not 0 < band < 1:
            raise ValueError(f"band must be a fraction of the image diagonal in (0, 1); got {band}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.band = band
        self.counts = torch.zeros(3, num_classes, dtype=torch.int64)

    @classmethod
    def of(cls, num_classes: int, ignore_index: int, absent: str) -> BoundaryIoU:
        """Creates an empty metric; classes without a contour are always skipped."""
        return cls(num_classes, ignore_index)

    def count(self, prediction: Labels, target: Labels) -> np.ndarray:
        """Counts of a label map: ``(4, N)`` int64, labels and their three counts.

        Args:
            prediction: ``(H, W)`` integer labels; values outside ``0..C-1`` are not a class.
            target: ``(H, W)`` integer labels in ``0..C-1``, or ``ignore_index``.
        """
        predicted, true = np.asarray(prediction), np.asarray(target)
        if predicted.shape != true.shape:
            raise ValueError(f"prediction {predicted.shape} and target {true.shape} differ in size")
        none = self.num_classes
        void = true == self.ignore_index
        true = self._compact(true, void)
        predicted = self._compact(predicted, void | (predicted < 0) | (predicted >= none))
        width = band_width_px(true.shape, self.band)
        true_band, predicted_band = contour_band(true, width), contour_band(predicted, width)
        both = true_band & predicted_band & (true == predicted)
        pairs = ((true, true_band), (predicted, predicted_band), (true, both))
        counts = np.stack([_histogram(labels, where, none) for labels, where in pairs])
        found = np.flatnonzero(counts.any(axis=0))
        return np.concatenate([found[None], counts[:, found]])

    def add(self, counts: np.ndarray) -> None:
        """Adds the result of :meth:`count`."""
        self.counts[:, torch.from_numpy(counts[0])] += torch.from_numpy(counts[1:])

    def _compact(self, labels: np.ndarray, nothing: np.ndarray) -> np.ndarray:
        """Labels in the smallest dtype, with ``num_classes`` for pixels without a class."""
        compact = labels.astype(np.uint8 if self.num_classes < 255 else np.uint16)
        compact[nothing] = self.num_classes
        return compact

    def iou(self) -> Tensor:
        """Boundary IoU per class, ``(C,)`` float64 in ``[0, 1]``; NaN for a class without a contour."""
        true, predicted, both = self.counts.double()
        return both / (true + predicted - both)

    def figures(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """``bIoU``."""
        return {"bIoU": self.score()}

    def by_class(self) -> dict[str, Tensor]:
        """``bIoU``."""
        return {"bIoU": self.iou()}

    def score(self) -> float:
        """Mean over the classes with a contour, in percent."""
        return 100.0 * float(self.iou().nanmean())


def _histogram(labels: np.ndarray, where: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels per class within ``where``, ``(C,)`` int64."""
    # OpenCV counts in float32, exact below 2 ** 24 pixels.
    if labels.dtype == np.uint8 and labels.size < 1 << 24:
        counts = cv2.calcHist([labels], [0], where.view(np.uint8), [256], [0, 256])
        return counts.reshape(-1)[:num_classes].astype(np.int64)
    return np.bincount(labels[where], minlength=num_classes + 1)[:num_classes]
