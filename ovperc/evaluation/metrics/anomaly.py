"""Exact pixel metrics of anomaly maps, in bounded memory.

The vertices of every curve are at scores of anomalous pixels, which are few. One pass over the maps collects those
scores, a second counts the normal pixels between them. Only a handful of maps is held at a time, and the result equals
a sort of all pixels, including ties. Maps are recomputed for the second pass.

If there are too many anomalous pixels, scores are processed in bands with a bounded number of them.
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
    """Pixel metrics of a category, in ``[0, 1]``; NaN if undefined.

    Attributes:
        ranking: AUROC, AP, AUPR and F1-max.
        aupro: limit of the false-positive rate -> area under the per-region overlap curve.
        legacy_aupro: the 200-step estimator of published tables; NaN if not requested.
        regions, positives, negatives: counts.
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
    """Exact metrics of maps that can be recomputed.

    Memory: a few maps, plus about 150 bytes for each of ``max_positives`` anomalous pixels, independent of the number
    of images. Two passes over the maps up to that number of anomalous pixels, and two more per additional band of
    scores.

    Args:
        open_maps: iterates over all maps from the start; called at least twice.
        limits: limits of AUPRO's false-positive rate.
        legacy: also compute the 200-step estimator.
        max_positives: anomalous pixels held in memory at a time.

    Raises:
        ValueError: a map has non-finite scores, or its mask has another size.
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
    """The curve, or its segment within a band, from scores and counts, without empty steps."""
    thresholds, counts, weights = positives.join()
    cells = normal.count()
    found, share, scores = np.zeros(len(cells), np.int64), np.zeros(len(cells)), np.zeros(len(cells))
    found[1::2], share[1::2] = counts, weights
    scores[1::2], scores[2::2], scores[0] = thresholds, thresholds, positives.low
    kept = np.flatnonzero((found > 0) | (cells > 0))[::-1]
    return RegionCurve(RankingCurve(scores[kept], found[kept], cells[kept]), share[kept], regions)


class PixelTotals:
    """Metrics of a pixel curve that arrives in segments, in descending order of scores.

    Args:
        statistics: statistics of the complete curve.
        limits: limits of AUPRO's false-positive rate.
    """

    def __init__(self, statistics: MapStatistics, limits: Iterable[float]) -> None:
        self.statistics = statistics
        self._ranking = RankingTotals(statistics.positives, statistics.negatives)
        self._overlap = OverlapTotals(statistics.regions, statistics.negatives, limits)

    def add(self, piece: RegionCurve) -> None:
        """Adds the next segment, with lower scores than the previous ones."""
        self._ranking.add(piece.ranking)
        self._overlap.add(piece.ranking.negatives, piece.weights)

    def scores(self, legacy: float = float("nan")) -> PixelScores:
        """The metrics, after all segments were added."""
        own = self.statistics
        return PixelScores(
            self._ranking.scores(), self._overlap.areas(), legacy, own.regions, own.positives, own.negatives
        )


def _first_pass(open_maps: OpenMaps, max_positives: int) -> tuple[MapStatistics, PositiveScores | None, np.ndarray]:
    """Counts, the anomalous pixels unless there are too many, and the boundaries of the bands."""
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
