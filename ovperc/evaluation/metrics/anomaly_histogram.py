"""Pixel metrics of anomaly maps in a single pass, from score histograms with error bounds.

For maps that cannot be recomputed, and for distributed runs: histograms with fixed edges are additive. Scores within a
bin count as ties; the bracket bounds the exact metrics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.dist import all_reduce

from ovperc.evaluation.metrics.anomaly import PixelScores, PixelTotals
from ovperc.evaluation.metrics.anomaly_counts import MapStatistics, ScoredMap
from ovperc.evaluation.metrics.aupro import RegionCurve
from ovperc.evaluation.metrics.ranking import RankingCurve

BINS = 1 << 16


@dataclass(frozen=True)
class Bracket:
    """Bounds of the exact metrics, which also contain the histogram's estimates.

    Attributes:
        auroc: lower and upper bound.
        aupro: limit -> lower and upper bound.
    """

    auroc: tuple[float, float]
    aupro: dict[float, tuple[float, float]]

    @property
    def width(self) -> float:
        """The width of the widest bracket; NaN if a metric is undefined."""
        pairs = (self.auroc, *self.aupro.values())
        return float(max(high - low for low, high in pairs)) if pairs else 0.0


def uniform_edges(low: float, high: float, bins: int = BINS) -> np.ndarray:
    """Edges ``(bins - 1,)`` of uniform bins; scores outside the range fall into the outer bins."""
    if not (np.isfinite([low, high]).all() and low < high) or bins < 2:
        raise ValueError(f"expected low < high and at least 2 bins; got {low}..{high}, {bins} bins")
    return np.linspace(low, high, bins + 1)[1:-1]


def quantile_edges(sample: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Ascending edges of bins with about equally many scores of a sample, which should include anomalous pixels."""
    values = np.unique(np.asarray(sample, np.float64))
    if values.size < 2 or not np.isfinite(values).all():
        raise ValueError(f"a sample needs at least 2 different finite scores; got {values.size} of {np.size(sample)}")
    if values.size <= bins:
        return (values[1:] + values[:-1]) / 2
    return np.unique(np.quantile(np.asarray(sample, np.float64), np.arange(1, bins) / bins))


class ScoreHistogram:
    """Counts of anomalous and normal pixels and region weights per bin; additive over shards and processes.

    Args:
        edges: ``(bins - 1,)`` ascending; a score equal to an edge belongs to the bin above.

    Attributes:
        positives, negatives: ``(bins,)`` int64.
        weights: ``(bins,)`` float64.
        regions: number of connected anomalous regions.
    """

    def __init__(self, edges: np.ndarray) -> None:
        self.edges = np.asarray(edges, np.float64)
        if self.edges.ndim != 1 or (np.diff(self.edges) <= 0).any():
            raise ValueError("edges must be ascending numbers (bins - 1,); see uniform_edges and quantile_edges")
        bins = len(self.edges) + 1
        self.positives, self.negatives = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
        self.weights, self.regions = np.zeros(bins), 0

    def add(self, item: ScoredMap) -> None:
        """Counts a map.

        Raises:
            ValueError: scores that are not finite, or a mask of another size.
        """
        scores, weights, regions = item.checked().defective()
        bins = len(self.positives)
        place = np.searchsorted(self.edges, scores.astype(np.float64), side="right")
        self.positives += np.bincount(place, minlength=bins)
        self.weights += np.bincount(place, weights, bins)
        normal = np.sort(item.normal())
        borders = np.searchsorted(normal, self.edges, side="left")
        self.negatives += np.diff(borders, prepend=0, append=normal.size)
        self.regions += regions

    def merge(self, other: ScoreHistogram) -> None:
        """Adds the counts of other images.

        Raises:
            ValueError: the edges differ.
        """
        if not np.array_equal(self.edges, other.edges):
            raise ValueError("histograms with different edges cannot be added")
        self.positives += other.positives
        self.negatives += other.negatives
        self.weights += other.weights
        self.regions += other.regions

    def all_reduce(self) -> None:
        """Sums the counts over all processes."""
        counts = torch.from_numpy(np.concatenate([self.positives, self.negatives, [self.regions]]))
        weights = torch.from_numpy(self.weights.copy())
        all_reduce(counts)
        all_reduce(weights)
        bins = len(self.positives)
        self.positives, self.negatives = counts[:bins].numpy().copy(), counts[bins:-1].numpy().copy()
        self.weights, self.regions = weights.numpy(), int(counts[-1])

    def scores(self, limits: Iterable[float]) -> PixelScores:
        """Metrics with the scores of a bin as ties."""
        return self._scores([self._steps(slice(None), slice(None))], limits)

    def bracket(self, limits: Iterable[float]) -> Bracket:
        """Bounds with all anomalous pixels of a bin ranked below, or above, its normal pixels."""
        limits = tuple(limits)
        found, none = self._steps(slice(None), slice(0)), self._steps(slice(0), slice(None))
        low, high = (self._scores([_interleaved(*pair)], limits) for pair in ((none, found), (found, none)))
        return Bracket(
            (low.ranking.auroc, high.ranking.auroc),
            {limit: (low.aupro[limit], high.aupro[limit]) for limit in limits},
        )

    def _steps(self, defects: slice, normal: slice) -> RegionCurve:
        """Bins as steps in descending order, with the counts of either class kept or set to 0."""
        positives, weights, negatives = (np.zeros_like(c) for c in (self.positives, self.weights, self.negatives))
        positives[defects], weights[defects] = self.positives[defects], self.weights[defects]
        negatives[normal] = self.negatives[normal]
        lowest = np.concatenate([[-np.inf], self.edges])
        return RegionCurve(RankingCurve(lowest[::-1], positives[::-1], negatives[::-1]), weights[::-1], self.regions)

    def _scores(self, pieces: Iterable[RegionCurve], limits: Iterable[float]) -> PixelScores:
        totals = PixelTotals(MapStatistics(int(self.positives.sum()), int(self.negatives.sum()), self.regions), limits)
        for piece in pieces:
            totals.add(_without_empty(piece))
        return totals.scores()


def _interleaved(first: RegionCurve, second: RegionCurve) -> RegionCurve:
    """Interleaves the steps of two curves of equal length."""

    def weave(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.stack([a, b], 1).ravel()

    one, two = first.ranking, second.ranking
    ranking = RankingCurve(
        weave(one.scores, two.scores), weave(one.positives, two.positives), weave(one.negatives, two.negatives)
    )
    return RegionCurve(ranking, weave(first.weights, second.weights), first.regions)


def _without_empty(curve: RegionCurve) -> RegionCurve:
    ranking = curve.ranking
    kept = (ranking.positives > 0) | (ranking.negatives > 0)
    kept_ranking = RankingCurve(ranking.scores[kept], ranking.positives[kept], ranking.negatives[kept])
    return RegionCurve(kept_ranking, curve.weights[kept], curve.regions)
