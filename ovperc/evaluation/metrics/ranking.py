"""Ranking metrics AUROC, AP, AUPR and F1-max from an exact curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class RankingCurve:
    """Counts of positives and negatives by descending score.

    A step is a distinct score, with all its ties, or a run of scores of negatives only, which suffices for all metrics
    of this module.

    Attributes:
        scores: ``(K,)`` float64, descending; the score of the step's positives, or a bound of its scores if there are
            none.
        positives: ``(K,)`` int64.
        negatives: ``(K,)`` int64.
    """

    scores: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @property
    def num_positives(self) -> int:
        """All positives."""
        return int(self.positives.sum())

    @property
    def num_negatives(self) -> int:
        """All negatives."""
        return int(self.negatives.sum())


@dataclass(frozen=True)
class RankingScores:
    """Metrics of a curve, in ``[0, 1]``; NaN if undefined.

    Attributes:
        auroc: probability that a positive scores above a negative, ties counting half. NaN unless both are present.
        ap: average precision ``sum (R_n - R_{n-1}) P_n`` over distinct scores, without interpolation, as in
            scikit-learn's ``average_precision_score``. NaN without positives.
        aupr: area under the same curve by the trapezoidal rule; usually larger, and called AP in some tables.
        f1_max: best F1 over all thresholds ``score >= t``.
        f1_threshold: the highest threshold with that F1.
    """

    auroc: float
    ap: float
    aupr: float
    f1_max: float
    f1_threshold: float


def ranking_curve(scores: np.ndarray, labels: np.ndarray) -> RankingCurve:
    """Computes the curve of scores in memory.

    Args:
        scores: ``(N,)`` finite numbers.
        labels: ``(N,)`` bool or 0/1, 1 for positives.

    Raises:
        ValueError: lengths differ, or a score is not finite.
    """
    values, truth = np.asarray(scores).ravel(), np.asarray(labels).ravel().astype(bool)
    if values.shape != truth.shape:
        raise ValueError(f"scores and labels must have the same length; got {values.size} and {truth.size}")
    if not np.isfinite(values).all():
        raise ValueError(f"scores must be finite; {int((~np.isfinite(values)).sum())} of {values.size} are not")
    order = np.argsort(values, kind="stable")[::-1]
    values, truth = values[order].astype(np.float64), truth[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if values.size else np.zeros(0, np.int64)
    positives = np.diff(np.cumsum(truth, dtype=np.int64)[last], prepend=0)
    return RankingCurve(values[last], positives, np.diff(last + 1, prepend=0) - positives)


class RankingTotals:
    """Metrics of a curve that arrives in segments, in descending order of scores.

    Args:
        positives, negatives: totals of the complete curve.
    """

    def __init__(self, positives: int, negatives: int) -> None:
        self.positives, self.negatives = positives, negatives
        self._found = self._alarms = 0
        self._above = self._ap = self._aupr = 0.0
        self._precision = 1.0  # the curve starts at recall 0, precision 1
        self._best = (float("nan"), float("nan"))

    def add(self, piece: RankingCurve) -> None:
        """Adds the next segment, with lower scores than the previous ones."""
        if not piece.positives.size:
            return
        found = self._found + np.cumsum(piece.positives)
        alarms = self._alarms + np.cumsum(piece.negatives)
        self._found, self._alarms = int(found[-1]), int(alarms[-1])
        self._above += float(((found - 0.5 * piece.positives) * piece.negatives).sum())
        if self.positives:
            precision = found / (found + alarms)
            before = np.concatenate([[self._precision], precision[:-1]])
            gained = piece.positives / self.positives
            self._precision = float(precision[-1])
            self._ap += float((gained * precision).sum())
            self._aupr += float((gained * (precision + before) / 2).sum())
            f1 = 2 * found / (found + alarms + self.positives)
            top = int(f1.argmax())
            if not f1[top] <= self._best[0]:
                self._best = float(f1[top]), float(piece.scores[top])

    def scores(self) -> RankingScores:
        """The metrics, after all segments were added."""
        nan = float("nan")
        auroc = self._above / (self.positives * self.negatives) if self.positives and self.negatives else nan
        if not self.positives:
            return RankingScores(auroc, nan, nan, nan, nan)
        return RankingScores(auroc, self._ap, self._aupr, *self._best)


def ranking_scores(curve: RankingCurve) -> RankingScores:
    """All metrics of a curve."""
    totals = RankingTotals(curve.num_positives, curve.num_negatives)
    totals.add(curve)
    return totals.scores()
