"""How well scores rank positives above negatives: AUROC, AP, AUPR and F1-max from one exact curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class RankingCurve:
    """Counts of positives and negatives in steps of falling score.

    A step is one score, with all that share it (ties move together), or a run of scores of negatives only. Every
    figure of this module needs no more than that: negatives between two scores of positives need not be told apart.

    Attributes:
        scores: ``(K,)`` float64, falling; where a step has positives their score, else some bound of its scores.
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
    """Figures of a curve, in ``[0, 1]``; NaN where they are not defined.

    Attributes:
        auroc: chance that a positive scores above a negative, ties counting half. NaN without both.
        ap: average precision ``sum (R_n - R_{n-1}) P_n`` over distinct scores, without interpolation, as
            scikit-learn's ``average_precision_score``. NaN without positives.
        aupr: area under the same curve by trapezoids: another number, usually larger, that some tables call AP.
        f1_max: best F1 of all thresholds ``score >= t``.
        f1_threshold: the highest threshold that reaches it.
    """

    auroc: float
    ap: float
    aupr: float
    f1_max: float
    f1_threshold: float


def ranking_curve(scores: np.ndarray, labels: np.ndarray) -> RankingCurve:
    """The curve of scores held in memory.

    Args:
        scores: ``(N,)`` finite numbers.
        labels: ``(N,)`` bool or 0/1, 1 for positives.

    Raises:
        ValueError: lengths differ, or a score is not finite.
    """
    values, truth = np.asarray(scores).ravel(), np.asarray(labels).ravel().astype(bool)
    if values.shape != truth.shape:
        raise ValueError(f"scores and labels must be of one length; got {values.size} and {truth.size}")
    if not np.isfinite(values).all():
        raise ValueError(f"scores must be finite; {int((~np.isfinite(values)).sum())} of {values.size} are not")
    order = np.argsort(values, kind="stable")[::-1]
    values, truth = values[order].astype(np.float64), truth[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if values.size else np.zeros(0, np.int64)
    positives = np.diff(np.cumsum(truth, dtype=np.int64)[last], prepend=0)
    return RankingCurve(values[last], positives, np.diff(last + 1, prepend=0) - positives)


class RankingTotals:
    """Sums of a curve that arrives in pieces, from the highest scores to the lowest.

    Args:
        positives, negatives: in the whole curve.
    """

    def __init__(self, positives: int, negatives: int) -> None:
        self.positives, self.negatives = positives, negatives
        self._found = self._alarms = 0
        self._above = self._ap = self._aupr = 0.0
        self._precision = 1.0  # the curve begins at recall 0, precision 1
        self._best = (float("nan"), float("nan"))

    def add(self, piece: RankingCurve) -> None:
        """Adds the next steps, all below those before."""
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
        """The figures, once all pieces are added."""
        nan = float("nan")
        auroc = self._above / (self.positives * self.negatives) if self.positives and self.negatives else nan
        if not self.positives:
            return RankingScores(auroc, nan, nan, nan, nan)
        return RankingScores(auroc, self._ap, self._aupr, *self._best)


def ranking_scores(curve: RankingCurve) -> RankingScores:
    """All figures of a curve."""
    totals = RankingTotals(curve.num_positives, curve.num_negatives)
    totals.add(curve)
    return totals.scores()
