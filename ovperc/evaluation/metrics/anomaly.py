"""Pixel figures of anomaly maps, exact and in bounded memory.

The vertices of every curve lie at scores of defective pixels, which are few. One pass over the maps collects those
scores, a second counts the normal pixels between them; so nothing but a handful of maps is held at a time, and the
result equals a sort of all pixels at once, ties included. Maps are made again for the second pass.

Where even the defective pixels are too many, scores are worked off in bands of a bounded number of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ovperc.evaluation.metrics.anomaly_counts import (
    MAX_POSITIVES,
    EvenSample,
    LegacyCounts,
    MapStatistics,
    NormalCounts,
    OpenMaps,
    PositiveScores,
)
from ovperc.evaluation.metrics.aupro import OverlapTotals, RegionCurve
from ovperc.evaluation.metrics.ranking import RankingCurve, RankingScores, RankingTotals

PRO_LIMITS: tuple[float, ...] = (0.3, 0.05)


@dataclass(frozen=True)
class PixelScores:
    """Figures over all pixels of a category, in ``[0, 1]``; NaN where they are not defined.

    Attributes:
        ranking: AUROC, AP, AUPR and F1-max.
        aupro: limit of the false positive rate -> area under the per-region overlap curve.
        legacy_aupro: the 200-step estimator of published tables; NaN if it was not asked for.
        regions, positives, negatives: what was counted.
    """

    ranking: RankingScores
    aupro: dict[float, float]
    legacy_aupro: float
    regions: int
    positives: int
    negatives: int


def pixel_scores(
    open_maps: OpenMaps,
    limits: Iterable[float] = PRO_LIMITS,
    legacy: bool = False,
    max_positives: int = MAX_POSITIVES,
) -> PixelScores:
    """Exact figures of maps that can be made again.

    Memory: a few maps, and what some 150 bytes for each of ``max_positives`` defective pixels take; it does not grow
    with the number of images. Two passes over the maps up to that number of defective pixels, two more for each band
    of scores beyond it.

    Args:
        open_maps: gives all maps from the beginning, at least twice.
        limits: of AUPRO's false positive rate.
        legacy: also the 200-step estimator.
        max_positives: defective pixels held at a time.

    Raises:
        ValueError: a map with scores that are not finite, or a mask of another size.
    """
    statistics, positives, edges = _first_pass(open_maps, max_positives)
    steps = LegacyCounts(statistics.low, statistics.high) if legacy else None
    marks = np.zeros(0) if steps is None else steps.thresholds
    totals = PixelTotals(statistics, limits)
    for low, high in reversed(list(pairwise(edges.tolist()))):
        if positives is None:
            band = PositiveScores(low, high)
            for item in open_maps():
                band.add(*item.defective()[:2])
        else:
            band = positives
        normal = NormalCounts(band.join()[0], low, high, marks)
        for item in open_maps():
            normal.add(item.normal())
        totals.add(region_curve(band, normal, statistics.regions))
        if steps is not None:
            steps.add(band, normal)
    return totals.scores(float("nan") if steps is None else steps.estimate(statistics))


def region_curve(positives: PositiveScores, normal: NormalCounts, regions: int) -> RegionCurve:
    """The curve, or the piece of it within a band, that scores and counts make; empty steps left out."""
    thresholds, counts, weights = positives.join()
    cells = normal.count()
    found, share, scores = np.zeros(len(cells), np.int64), np.zeros(len(cells)), np.zeros(len(cells))
    found[1::2], share[1::2] = counts, weights
    scores[1::2], scores[2::2], scores[0] = thresholds, thresholds, positives.low
    kept = np.flatnonzero((found > 0) | (cells > 0))[::-1]
    return RegionCurve(RankingCurve(scores[kept], found[kept], cells[kept]), share[kept], regions)


class PixelTotals:
    """All figures of a curve of pixels that arrives in pieces, from the highest scores to the lowest.

    Args:
        statistics: of the whole curve.
        limits: of AUPRO's false positive rate.
    """

    def __init__(self, statistics: MapStatistics, limits: Iterable[float]) -> None:
        self.statistics = statistics
        self._ranking = RankingTotals(statistics.positives, statistics.negatives)
        self._overlap = OverlapTotals(statistics.regions, statistics.negatives, limits)

    def add(self, piece: RegionCurve) -> None:
        """Adds the next steps, all below those before."""
        self._ranking.add(piece.ranking)
        self._overlap.add(piece.ranking.negatives, piece.weights)

    def scores(self, legacy: float = float("nan")) -> PixelScores:
        """The figures, once all pieces are added."""
        own = self.statistics
        return PixelScores(
            self._ranking.scores(), self._overlap.areas(), legacy, own.regions, own.positives, own.negatives
        )


def _first_pass(open_maps: OpenMaps, max_positives: int) -> tuple[MapStatistics, PositiveScores | None, np.ndarray]:
    """Counts, the defective pixels if they are not too many, and the borders of the bands to work in."""
    statistics, positives = MapStatistics(), PositiveScores()
    sample = EvenSample()
    for item in open_maps():
        item.checked()
        scores, weights, regions = item.defective()
        low, high = (float(item.scores.min()), float(item.scores.max())) if item.scores.size else (np.inf, -np.inf)
        statistics += MapStatistics(scores.size, item.scores.size - scores.size, regions, low, high)
        sample.add(scores)
        if positives is not None:
            positives.add(scores, weights)
            if statistics.positives > max_positives:
                positives = None
    if positives is not None:
        return statistics, positives, np.array([-np.inf, np.inf])
    bands = -(-statistics.positives * 5 // (4 * max_positives))
    inner = np.unique(np.quantile(sample.scores(), np.arange(1, bands) / bands, method="nearest"))
    return statistics, None, np.concatenate([[-np.inf], inner, [np.inf]])
