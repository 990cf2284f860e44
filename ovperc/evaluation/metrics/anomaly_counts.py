"""Additive counts over anomaly maps: anomalous pixels by score, and normal pixels between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ovperc.evaluation.metrics.aupro import legacy_aupro, legacy_thresholds, region_weights

MAX_POSITIVES = 1 << 20
_BUFFER = 1 << 22
_SAMPLE = 1 << 16


@dataclass(frozen=True, eq=False)
class ScoredMap:
    """An anomaly map with its ground truth.

    Attributes:
        scores: ``(H, W)`` float32, higher is more anomalous.
        mask: ``(H, W)`` bool; None for a normal image.
        name: for messages.
    """

    scores: np.ndarray
    mask: np.ndarray | None = None
    name: str = "map"

    def checked(self) -> ScoredMap:
        """Returns itself if valid.

        Raises:
            ValueError: scores are not finite, or the mask has another size.
        """
        if self.mask is not None and self.mask.shape != self.scores.shape:
            raise ValueError(
                f"{self.name}: the mask is {self.mask.shape}, the map {self.scores.shape}; the sizes must be equal"
            )
        if not np.isfinite(self.scores).all():
            bad = int((~np.isfinite(self.scores)).sum())
            raise ValueError(f"{self.name}: {bad} of {self.scores.size} scores are not finite")
        return self

    def defective(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Scores and region weights of the anomalous pixels, and the number of regions."""
        if self.mask is None:
            return np.zeros(0, self.scores.dtype), np.zeros(0), 0
        weights, regions = region_weights(self.mask)
        return self.scores[self.mask], weights, regions

    def normal(self) -> np.ndarray:
        """Scores of the normal pixels, ``(N,)``."""
        return self.scores.ravel() if self.mask is None else self.scores[~self.mask]


OpenMaps = Callable[[], Iterable[ScoredMap]]
"""Iterates over the maps from the start; the same ones on every call."""


@dataclass(frozen=True)
class MapStatistics:
    """Additive statistics of the first pass over maps.

    Attributes:
        positives, negatives: numbers of pixels.
        regions: number of connected anomalous regions.
        low, high: range of all scores.
    """

    positives: int = 0
    negatives: int = 0
    regions: int = 0
    low: float = np.inf
    high: float = -np.inf

    def __add__(self, other: MapStatistics) -> MapStatistics:
        return MapStatistics(
            self.positives + other.positives,
            self.negatives + other.negatives,
            self.regions + other.regions,
            min(self.low, other.low),
            max(self.high, other.high),
        )


class PositiveScores:
    """Scores of anomalous pixels with their region weights, with equal scores merged.

    Args:
        low, high: only scores in ``[low, high)``.
    """

    def __init__(self, low: float = -np.inf, high: float = np.inf) -> None:
        self.low, self.high = low, high
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._loose = 0

    def add(self, scores: np.ndarray, weights: np.ndarray) -> None:
        """Adds the anomalous pixels of a map."""
        inside = (scores >= self.low) & (scores < self.high)
        if not inside.all():
            scores, weights = scores[inside], weights[inside]
        if scores.size:
            self._parts.append((scores, np.ones(scores.size, np.int64), weights))
            self._loose += scores.size
        if self._loose > MAX_POSITIVES:
            self.join()

    def merge(self, other: PositiveScores) -> None:
        """Adds those of another process or shard."""
        self._parts.append(other.join())
        self._loose += self._parts[-1][0].size

    def join(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distinct scores in ascending order, ``(K,)``, with their counts int64 and weights float64."""
        if not self._parts:
            return np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0)
        scores, counts, weights = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.argsort(scores, kind="stable")
        scores, counts, weights = scores[order], counts[order], weights[order]
        first = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
        joined = (scores[first], np.add.reduceat(counts, first), np.add.reduceat(weights, first))
        self._parts, self._loose = [joined], 0
        return joined


class NormalCounts:
    """Additive counts of normal pixels at and between thresholds.

    Args:
        thresholds: ``(K,)`` distinct, ascending.
        low, high: only scores in ``[low, high)``.
        marks: further thresholds above which scores are counted.

    Attributes:
        cells: ``(2 K + 1,)`` int64; odd cells are ties with a threshold, even ones are between thresholds, ascending.
        above: int64 counts above each mark.
    """

    def __init__(
        self,
        thresholds: np.ndarray,
        low: float = -np.inf,
        high: float = np.inf,
        marks: np.ndarray = np.zeros(0),  # noqa: B008 (read-only)
    ) -> None:
        self.thresholds, self.low, self.high, self.marks = thresholds, low, high, marks
        self.above = np.zeros(len(marks), np.int64)
        self.cells = np.zeros(2 * len(thresholds) + 1, np.int64)
        self._waiting: list[np.ndarray] = []
        self._size = 0

    def add(self, scores: np.ndarray) -> None:
        """Adds the normal pixels of a map."""
        if np.isfinite(self.low) or np.isfinite(self.high):
            scores = scores[(scores >= self.low) & (scores < self.high)]
        self._waiting.append(scores)
        self._size += scores.size
        if self._size >= max(_BUFFER, 2 * len(self.thresholds)):
            self.count()

    def count(self) -> np.ndarray:
        """The accumulated cells."""
        if self._waiting:
            scores = np.sort(np.concatenate(self._waiting))
            borders = np.empty(2 * len(self.thresholds) + 2, np.int64)
            borders[0], borders[-1] = 0, scores.size
            borders[1:-1:2] = np.searchsorted(scores, self.thresholds, side="left")
            borders[2:-1:2] = np.searchsorted(scores, self.thresholds, side="right")
            self.cells += np.diff(borders)
            if self.marks.size:
                self.above += scores.size - np.searchsorted(scores.astype(np.float64), self.marks, side="right")
            self._waiting, self._size = [], 0
        return self.cells


class LegacyCounts:
    """Overlap and false-positive rate at the thresholds of the 200-step estimator; additive over bands of scores.

    Args:
        low, high: range of all scores.
    """

    def __init__(self, low: float, high: float) -> None:
        self.thresholds = legacy_thresholds(low, high)
        self.overlap = np.zeros(len(self.thresholds))
        self.alarms = np.zeros(len(self.thresholds), np.int64)

    def add(self, positives: PositiveScores, normal: NormalCounts) -> None:
        """Adds a band; the prediction is ``score > t`` in float64."""
        scores, _, weights = positives.join()
        below = np.searchsorted(scores.astype(np.float64), self.thresholds, side="right")
        self.overlap += np.append(weights[::-1].cumsum()[::-1], 0.0)[below]
        normal.count()
        self.alarms += normal.above

    def estimate(self, statistics: MapStatistics) -> float:
        """The area; NaN without regions or normal pixels."""
        if not statistics.regions or not statistics.negatives:
            return float("nan")
        return legacy_aupro(self.overlap / statistics.regions, self.alarms / statistics.negatives)


class EvenSample:
    """A bounded, uniform sample of a stream: when it is full, every second entry is dropped."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._stride, self._skip, self._size = 1, 0, 0

    def add(self, values: np.ndarray) -> None:
        taken = values[self._skip :: self._stride]
        self._skip = (self._skip - values.size) % self._stride
        self._parts.append(taken)
        self._size += taken.size
        while self._size > _SAMPLE:
            kept = self.scores()[::2]
            self._parts, self._size = [kept], kept.size
            self._stride *= 2

    def scores(self) -> np.ndarray:
        return np.concatenate(self._parts)
