"""Figures of one category by name, in percent, with a reason for each that is not defined."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ovperc.evaluation.metrics.anomaly import PRO_LIMITS, PixelScores, pixel_scores
from ovperc.evaluation.metrics.anomaly_counts import MAX_POSITIVES, OpenMaps
from ovperc.evaluation.metrics.anomaly_histogram import ScoreHistogram, quantile_edges
from ovperc.evaluation.metrics.ranking import RankingScores, ranking_curve, ranking_scores

HISTOGRAM_TOLERANCE = 1e-4
_SAMPLED_MAPS, _SAMPLED_PIXELS = 64, 4096


@dataclass(frozen=True)
class CategoryCounts:
    """What was counted: images, and pixels and regions of those with masks."""

    normal_images: int
    anomalous_images: int
    regions: int = 0
    defective_pixels: int = 0
    normal_pixels: int = 0


@dataclass(frozen=True)
class CategoryScores:
    """Figures of a category.

    Attributes:
        figures: name -> percent (thresholds in units of the scores); NaN where not defined.
        counts: what they rest on.
        notes: one sentence for each reason why figures are not defined, and on how they were counted.
    """

    figures: dict[str, float]
    counts: CategoryCounts
    notes: tuple[str, ...] = ()


def score_category(
    image_scores: np.ndarray,
    labels: np.ndarray,
    open_maps: OpenMaps,
    *,
    limits: Iterable[float] = PRO_LIMITS,
    histogram: bool = False,
    legacy: bool = True,
    max_positives: int = MAX_POSITIVES,
) -> CategoryScores:
    """All figures of a category.

    Args:
        image_scores: ``(N,)`` finite.
        labels: ``(N,)`` bool, whether the image is anomalous.
        open_maps: gives the maps of the images with masks, from the beginning, each time it is called.
        limits: of AUPRO's false positive rate.
        histogram: count pixels in one pass where that is precise enough.
        legacy: also the 200-step estimator.
        max_positives: defective pixels held at a time.
    """
    limits = tuple(limits)
    notes: list[str] = []
    labels = np.asarray(labels, bool)
    figures = _named("image", ranking_scores(ranking_curve(image_scores, labels)))
    if not labels.any():
        notes.append("no anomalous image: figures over images and pixels are not defined")
    elif labels.all():
        notes.append("no normal image: figures over images say nothing")
        figures = dict.fromkeys(figures, float("nan"))
    pixels = _pixels(open_maps, limits, histogram, legacy, max_positives, notes)
    if not pixels.positives + pixels.negatives:
        notes.append("no masks: figures over pixels are not defined")
    elif not pixels.positives and labels.any():
        notes.append("no defective pixel in any mask: figures over pixels are not defined")
    figures |= _named("pixel", pixels.ranking)
    figures |= {f"AUPRO@{limit:g}": 100 * value for limit, value in pixels.aupro.items()}
    if legacy:
        figures["AUPRO_legacy200"] = 100 * pixels.legacy_aupro
    counts = CategoryCounts(int((~labels).sum()), int(labels.sum()), pixels.regions, pixels.positives, pixels.negatives)
    return CategoryScores(figures, counts, tuple(notes))


def mean_scores(categories: Iterable[CategoryScores]) -> dict[str, float]:
    """Unweighted means over the categories in which a figure is defined; thresholds are not averaged."""
    rows = [entry.figures for entry in categories]
    names = [name for name in (rows[0] if rows else {}) if not name.endswith("threshold")]
    values = {name: np.array([row[name] for row in rows]) for name in names}
    return {
        name: float(column[~np.isnan(column)].mean()) if (~np.isnan(column)).any() else float("nan")
        for name, column in values.items()
    }


def _named(kind: str, scores: RankingScores) -> dict[str, float]:
    return {
        f"{kind}_AUROC": 100 * scores.auroc,
        f"{kind}_AP": 100 * scores.ap,
        f"{kind}_AUPR": 100 * scores.aupr,
        f"{kind}_F1max": 100 * scores.f1_max,
        f"{kind}_F1_threshold": scores.f1_threshold,
    }


def _pixels(
    open_maps: OpenMaps,
    limits: tuple[float, ...],
    histogram: bool,
    legacy: bool,
    max_positives: int,
    notes: list[str],
) -> PixelScores:
    if not histogram:
        return pixel_scores(open_maps, limits, legacy, max_positives)
    sample = _sample(open_maps)
    if np.unique(sample).size > 1:
        counted = ScoreHistogram(quantile_edges(sample))
        for item in open_maps():
            counted.add(item)
        width = counted.bracket(limits).width
        if width <= HISTOGRAM_TOLERANCE:
            notes.append(f"pixels were counted in histograms: AUROC and AUPRO are exact to {100 * width:.1g} points")
            return counted.scores(limits)
    return pixel_scores(open_maps, limits, legacy, max_positives)


def _sample(open_maps: OpenMaps) -> np.ndarray:
    """Scores of some pixels of the first maps, those of defects among them."""
    picks = []
    for number, item in enumerate(open_maps()):
        if number == _SAMPLED_MAPS:
            break
        scores = item.checked().scores.ravel()
        picks += [scores[:: max(1, scores.size // _SAMPLED_PIXELS)], item.defective()[0][:_SAMPLED_PIXELS]]
    return np.concatenate(picks) if picks else np.zeros(0)
