"""Decision thresholds and their origin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ovperc.core.naming import suggest

Origin = Literal["none", "normal", "labelled", "given"]


@dataclass(frozen=True)
class Calibration:
    """Decision thresholds and their origin. Scores at or above a threshold are anomalous.

    Attributes:
        origin: ``none`` (no decision), ``normal`` (from normal images), ``labelled`` (best F1 on labelled
            validation images) or ``given`` (by the user).
        image_threshold: threshold of the image score; None for no decision.
        pixel_threshold: threshold of the anomaly map; None for no regions.
        num_images: number of images used to choose the thresholds.
        fpr: for ``normal``, the requested false-positive rate on normal images.
        note: a remark for the user, such as too few images for the rate.
    """

    origin: Origin = "none"
    image_threshold: float | None = None
    pixel_threshold: float | None = None
    num_images: int = 0
    fpr: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.origin not in get_args(Origin):
            raise ValueError(f"unknown origin {self.origin!r}; {suggest(str(self.origin), get_args(Origin))}")
        for name in ("image_threshold", "pixel_threshold"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} must be finite; got {value}")

    @classmethod
    def from_normal(cls, image_scores: Sequence[float], map_peaks: Sequence[float], fpr: float) -> Calibration:
        """Chooses thresholds from the scores of normal images.

        With ``k`` images the threshold lies just above the ``ceil((k + 1)(1 - fpr))``-th smallest score, so that a new
        normal image reaches it with probability at most ``fpr``, whatever the distribution (split conformal
        prediction). If ``k < 1 / fpr - 1``, no such score exists; the highest score is used and noted in ``note``.

        Args:
            image_scores: image scores of ``k`` normal images.
            map_peaks: maximum of each image's map; the pixel threshold is chosen so that images have no regions.
            fpr: target false-positive rate, in ``(0, 1)``.

        Raises:
            ValueError: there are no images, ``fpr`` is outside ``(0, 1)``, or scores are not finite.
        """
        if not 0 < fpr < 1:
            raise ValueError(f"fpr must be between 0 and 1, such as 0.01; got {fpr}")
        count = len(image_scores)
        if count == 0 or len(map_peaks) != count:
            raise ValueError("calibration needs at least one normal image, with one score and one map each")
        rank = math.ceil((count + 1) * (1 - fpr) - 1e-9)
        note = ""
        if rank > count:
            note = (
                f"{count} normal images cannot guarantee a false-positive rate of {fpr:g}: the highest score is the "
                f"threshold, which guarantees {1 / (count + 1):.3g}; use at least {math.ceil(1 / fpr) - 1} images"
            )
        place = min(rank, count) - 1
        image, pixel = (_just_above(_sorted_finite(values)[place]) for values in (image_scores, map_peaks))
        return cls("normal", image, pixel, num_images=count, fpr=fpr, note=note)

    @classmethod
    def from_labelled(
        cls,
        image_scores: Sequence[float],
        labels: Sequence[bool],
        maps: Sequence[np.ndarray] = (),
        masks: Sequence[np.ndarray] = (),
    ) -> Calibration:
        """Chooses the thresholds with the best F1 on labelled validation images (never the test images).

        Args:
            image_scores: scores of the images.
            labels: whether each image is anomalous; both classes are required.
            maps: anomaly maps; without them there is no pixel threshold.
            masks: ``(H, W)`` bool, one per map.

        Raises:
            ValueError: only one class is present, or lengths or shapes do not match.
        """
        scores, truth = np.asarray(image_scores, np.float64), np.asarray(labels, bool)
        if scores.shape != truth.shape or truth.all() or not truth.any():
            raise ValueError("labelled calibration needs normal and anomalous images, with one label per score")
        if len(maps) != len(masks):
            raise ValueError(f"expected one mask per map; got {len(maps)} maps and {len(masks)} masks")
        for map_, mask in zip(maps, masks, strict=True):
            if map_.shape != mask.shape:
                raise ValueError(f"a mask must have the size of its map; got mask {mask.shape} and map {map_.shape}")
        pixel = None
        if len(maps):
            truth_px = np.concatenate([np.asarray(mask, bool).ravel() for mask in masks])
            if truth_px.any():
                pixel = best_f1_threshold(np.concatenate([map_.ravel() for map_ in maps]), truth_px)
        note = "" if pixel is not None else "no pixel threshold, because no mask has anomalous pixels"
        return cls("labelled", best_f1_threshold(scores, truth), pixel, num_images=len(scores), note=note)

    def is_anomalous(self, image_score: float) -> bool | None:
        """Whether a score is anomalous; None without a threshold."""
        return None if self.image_threshold is None else bool(image_score >= self.image_threshold)


def best_f1_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold with the best F1; the highest one if several tie."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    hits = np.cumsum(truth[order])
    last = np.append(ranked[1:] != ranked[:-1], True)  # a threshold cannot separate equal scores
    f1 = np.where(last, 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1]), -1.0)
    return float(ranked[int(f1.argmax())])


def _sorted_finite(values: Sequence[float]) -> np.ndarray:
    found = np.sort(np.asarray(values, np.float64))
    if not np.isfinite(found).all():
        raise ValueError("scores of the normal images are not finite; check the weights and the images")
    return found


def _just_above(value: float) -> float:
    """The next larger float32, so that the image that set the threshold stays below it."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))
