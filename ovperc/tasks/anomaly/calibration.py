"""From raw scores to a decision: thresholds with a stated origin, never from test labels."""

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
    """Thresholds, and where they came from. Scores at or above a threshold count as anomalous.

    Attributes:
        origin: ``none`` (no decision), ``normal`` (from flawless images), ``labelled`` (best F1 on labelled
            validation images) or ``given`` (by the user).
        image_threshold: of the image score; None for no decision.
        pixel_threshold: of the map; None for no regions.
        num_images: images that the thresholds came from.
        fpr: of ``normal``: share of flawless images that would be called anomalous, as asked for.
        note: what a user should know, such as that there were too few images for the rate.
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
        """Thresholds just above the scores of flawless images.

        Of ``k`` images the threshold lies above the ``ceil((k + 1)(1 - fpr))``-th smallest score, so that a new image
        of the same kind exceeds it with a chance of at most ``fpr``, whatever the distribution (split conformal
        prediction). With ``k < 1 / fpr - 1`` no such score exists; the highest one is taken and the note says so.

        Args:
            image_scores: of ``k`` flawless images.
            map_peaks: highest value of each image's map; the pixel threshold keeps whole images free of regions.
            fpr: wanted false-positive rate, in ``(0, 1)``.

        Raises:
            ValueError: no images, a rate outside ``(0, 1)``, or scores that are not finite.
        """
        if not 0 < fpr < 1:
            raise ValueError(f"fpr must lie between 0 and 1, such as 0.01; got {fpr}")
        count = len(image_scores)
        if count == 0 or len(map_peaks) != count:
            raise ValueError("calibration needs at least one normal image, with a score and a map each")
        rank = math.ceil((count + 1) * (1 - fpr) - 1e-9)
        note = ""
        if rank > count:
            note = (
                f"{count} normal images cannot promise a false-positive rate of {fpr:g}: the highest score is the "
                f"threshold, which promises {1 / (count + 1):.3g}; {math.ceil(1 / fpr) - 1} images would do"
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
        """Thresholds of the best F1 on labelled images, which must not be the test images.

        Args:
            image_scores: of the images.
            labels: whether each is anomalous; both kinds are needed.
            maps: rendered maps; left out, there is no pixel threshold.
            masks: ``(H, W)`` bool, one per map.

        Raises:
            ValueError: only one kind of image, or lengths and shapes that do not fit.
        """
        scores, truth = np.asarray(image_scores, np.float64), np.asarray(labels, bool)
        if scores.shape != truth.shape or truth.all() or not truth.any():
            raise ValueError("labelled calibration needs normal and anomalous images, one label per score")
        if len(maps) != len(masks):
            raise ValueError(f"there are {len(maps)} maps for {len(masks)} masks; give one mask per map")
        for map_, mask in zip(maps, masks, strict=True):
            if map_.shape != mask.shape:
                raise ValueError(f"a mask must have the size of its image; got {mask.shape} for a map {map_.shape}")
        pixel = None
        if len(maps):
            truth_px = np.concatenate([np.asarray(mask, bool).ravel() for mask in masks])
            if truth_px.any():
                pixel = best_f1_threshold(np.concatenate([map_.ravel() for map_ in maps]), truth_px)
        note = "" if pixel is not None else "no masks with defects: there is no pixel threshold"
        return cls("labelled", best_f1_threshold(scores, truth), pixel, num_images=len(scores), note=note)

    def is_anomalous(self, image_score: float) -> bool | None:
        """The decision; None where there is no threshold."""
        return None if self.image_threshold is None else bool(image_score >= self.image_threshold)


def best_f1_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The score at which "at or above" has the best F1; the highest such score of several."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    hits = np.cumsum(truth[order])
    last = np.append(ranked[1:] != ranked[:-1], True)  # only whole groups of equal scores can be cut off
    f1 = np.where(last, 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1]), -1.0)
    return float(ranked[int(f1.argmax())])


def _sorted_finite(values: Sequence[float]) -> np.ndarray:
    found = np.sort(np.asarray(values, np.float64))
    if not np.isfinite(found).all():
        raise ValueError("scores of the normal images are not finite; check the weights and the images")
    return found


def _just_above(value: float) -> float:
    """The next single-precision number: scores are float32, and the image that set the mark passes it."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))
