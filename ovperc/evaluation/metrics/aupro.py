"""Area under the per-region overlap curve: every defect counts the same, however small.

``PRO(t)`` is the mean over all connected regions of the share of the region that scores at least ``t``; ``FPR(t)`` the
share of all normal pixels that do (Bergmann et al., MVTec AD, IJCV 2021).
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
    """A ranking curve of pixels with what its steps mean for regions.

    Attributes:
        ranking: counts of defective and normal pixels.
        weights: ``(K,)`` float64, sum over the defective pixels of a step of ``1 / area of their region``.
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
        ``1 / area`` of its region for each true pixel in row-major order, ``(P,)`` float64, and the number of regions.
        Pixels that touch at a corner are of one region (8-connected).
    """
    if not mask.any():
        return np.zeros(0), 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    return 1 / areas[labels[mask]], count - 1


class OverlapTotals:
    """Areas under PRO over FPR of a curve that arrives in pieces, from the highest scores to the lowest.

    Args:
        regions: in the whole set.
        negatives: normal pixels in the whole set.
        limits: largest false positive rates of the areas.

    Raises:
        ValueError: a limit outside ``(0, 1]``.
    """

    def __init__(self, regions: int, negatives: int, limits: Iterable[float]) -> None:
        self.regions, self.negatives = regions, negatives
        self._areas = dict.fromkeys(limits, 0.0)
        self._last = (0.0, 0.0)
        wrong = [limit for limit in self._areas if not 0 < limit <= 1]
        if wrong:
            raise ValueError(f"a limit is the largest false positive rate, in (0, 1]; got {wrong[0]}")

    def add(self, negatives: np.ndarray, weights: np.ndarray) -> None:
        """Adds the next steps: normal pixels ``(K,)`` int64, region weights ``(K,)`` float64; ties move jointly."""
        if not negatives.size or not self.regions or not self.negatives:
            return
        rate = np.concatenate([self._last[:1], self._last[0] + np.cumsum(negatives) / self.negatives])
        overlap = np.concatenate([self._last[1:], self._last[1] + np.cumsum(weights) / self.regions])
        self._last = float(rate[-1]), float(overlap[-1])
        for limit in self._areas:
            self._areas[limit] += _area_up_to(limit, rate, overlap)

    def areas(self) -> dict[float, float]:
        """Limit -> area divided by the limit, in ``[0, 1]``; NaN without regions or without normal pixels."""
        defined = self.regions and self.negatives
        return {limit: area / limit if defined else float("nan") for limit, area in self._areas.items()}


def _area_up_to(limit: float, rate: np.ndarray, overlap: np.ndarray) -> float:
    """Area under the piece of a curve left of ``limit``, the last segment cut by linear interpolation."""
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
        ValueError: a limit outside ``(0, 1]``.
    """
    totals = OverlapTotals(curve.regions, curve.ranking.num_negatives, (limit,))
    totals.add(curve.ranking.negatives, curve.weights)
    return totals.areas()[limit]


def legacy_thresholds(low: float, high: float) -> np.ndarray:
    """The estimator's thresholds: about 200 equal steps from the lowest to the highest score, float64."""
    return np.arange(low, high, (high - low) / LEGACY_STEPS) if high > low else np.zeros(0)


def legacy_aupro(overlap: np.ndarray, rate: np.ndarray) -> float:
    """The estimator behind most published PRO figures (adapted from CFLOW-AD by WinCLIP's, AnomalyCLIP's and others').

    It keeps thresholds with ``FPR < 0.3``, stretches their FPR to ``[0, 1]`` and takes trapezoids; it has no point at
    (0, 0) and none at 0.3, and it changes when scores are rescaled monotonically. For comparison with such tables
    only.

    Args:
        overlap: ``(T,)`` PRO with ``score > t`` at :func:`legacy_thresholds`.
        rate: ``(T,)`` FPR there.

    Returns:
        In ``[0, 1]``; NaN where fewer than two different rates are left.
    """
    kept = rate < LEGACY_LIMIT
    rate, overlap = rate[kept], overlap[kept]
    if len(rate) < 2 or np.isnan(overlap).any() or rate.max() == rate.min():
        return float("nan")
    stretched = (rate - rate.min()) / (rate.max() - rate.min())
    return float(abs(np.trapezoid(overlap, stretched)))
