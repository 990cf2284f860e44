"""Area under the per-region overlap curve, which weighs all anomalous regions equally.

``PRO(t)`` is the mean over all connected regions of the fraction of the region that scores at least ``t``; ``FPR(t)``
the fraction of all normal pixels that does (Bergmann et al., MVTec AD, IJCV 2021).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from ovperc.evaluation.metrics.ranking import RankingCurve

LEGACY_STEPS = 200
LEGACY_LIMIT = 0.3


@dataclass(frozen=True, eq=False)
class RegionCurve:
    """A ranking curve of pixels with region weights.

    Attributes:
        ranking: counts of anomalous and normal pixels.
        weights: ``(K,)`` float64, sum over the anomalous pixels of a step of ``1 / area of their region``.
        regions: number of regions.
    """

    ranking: RankingCurve
    weights: np.ndarray
    regions: int


def region_weights(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Weights of the pixels of a mask.

    Args:
        mask: ``(H, W)`` bool.

    Returns:
        ``1 / area`` of its region for each anomalous pixel in row-major order, ``(P,)`` float64, and the number of
        regions. Regions are 8-connected.
    """
    if not mask.any():
        return np.zeros(0), 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    return 1 / areas[labels[mask]], count - 1


class OverlapTotals:
    """Areas under PRO over FPR of a curve that arrives in segments, in descending order of scores.

    Args:
        regions: number of regions in the data set.
        negatives: number of normal pixels in the data set.
        limits: upper limits of the false-positive rate.

    Raises:
        ValueError: a limit is outside ``(0, 1]``.
    """

    def __init__(self, regions: int, negatives: int, limits: Iterable[float]) -> None:
        self.regions, self.negatives = regions, negatives
        self._areas = dict.fromkeys(limits, 0.0)
        self._last = (0.0, 0.0)
        wrong = [limit for limit in self._areas if not 0 < limit <= 1]
        if wrong:
            raise ValueError(f"limits of the false-positive rate must be in (0, 1]; got {wrong[0]}")

    def add(self, negatives: np.ndarray, weights: np.ndarray) -> None:
        """Adds the next steps: normal pixels ``(K,)`` int64, region weights ``(K,)`` float64; ties share a step."""
        if not negatives.size or not self.regions or not self.negatives:
            return
        rate = np.concatenate([self._last[:1], self._last[0] + np.cumsum(negatives) / self.negatives])
        overlap = np.concatenate([self._last[1:], self._last[1] + np.cumsum(weights) / self.regions])
        self._last = float(rate[-1]), float(overlap[-1])
        for limit in self._areas:
            self._areas[limit] += _area_up_to(limit, rate, overlap)

    def areas(self) -> dict[float, float]:
        """Limit -> area divided by the limit, in ``[0, 1]``; NaN without regions or normal pixels."""
        defined = self.regions and self.negatives
        return {limit: area / limit if defined else float("nan") for limit, area in self._areas.items()}


def _area_up_to(limit: float, rate: np.ndarray, overlap: np.ndarray) -> float:
    """Area under a curve left of ``limit``, with linear interpolation at the limit."""
    stop = int(np.searchsorted(rate, limit, side="right"))  # the first vertex beyond the limit
    if 0 < stop < len(rate):
        share = (limit - rate[stop - 1]) / (rate[stop] - rate[stop - 1])
        at_limit = overlap[stop - 1] + share * (overlap[stop] - overlap[stop - 1])
        rate, overlap = np.append(rate[:stop], limit), np.append(overlap[:stop], at_limit)
    return float(np.trapezoid(overlap, rate)) if stop else 0.0


def aupro(curve: RegionCurve, limit: float = 0.3) -> float:
    """Exact area under PRO over FPR from 0 to ``limit``, divided by ``limit``.

    Returns:
        In ``[0, 1]``; NaN without regions or without normal pixels.

    Raises:
        ValueError: a limit is outside ``(0, 1]``.
    """
    totals = OverlapTotals(curve.regions, curve.ranking.num_negatives, (limit,))
    totals.add(curve.ranking.negatives, curve.weights)
    return totals.areas()[limit]


def legacy_thresholds(low: float, high: float) -> np.ndarray:
    """The estimator's thresholds: about 200 equal steps from the lowest to the highest score, float64."""
    return np.arange(low, high, (high - low) / LEGACY_STEPS) if high > low else np.zeros(0)


def legacy_aupro(overlap: np.ndarray, rate: np.ndarray) -> float:
    """The estimator behind most published PRO figures (adapted from CFLOW-AD by WinCLIP's, AnomalyCLIP's and others').

    It keeps thresholds with ``FPR < 0.3``, rescales their FPR to ``[0, 1]`` and applies the trapezoidal rule; it has no
    point at (0, 0) or 0.3, and it is not invariant under monotonic rescaling of the scores. Only for comparison with
    such tables.

    Args:
        overlap: ``(T,)`` PRO with ``score > t`` at :func:`legacy_thresholds`.
        rate: ``(T,)`` FPR there.

    Returns:
        In ``[0, 1]``; NaN if fewer than two distinct rates remain.
    """
    kept = rate < LEGACY_LIMIT
    rate, overlap = rate[kept], overlap[kept]
    if len(rate) < 2 or np.isnan(overlap).any() or rate.max() == rate.min():
        return float("nan")
    stretched = (rate - rate.min()) / (rate.max() - rate.min())
    return float(abs(np.trapezoid(overlap, stretched)))
