"""Metrics of a category in percent, with reasons for undefined ones."""

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
    """Numbers of images, and of pixels and regions of those with masks."""

    normal_images: int
    anomalous_images: int
    regions: int = 0
    defective_pixels: int = 0
    normal_pixels: int = 0


@dataclass(frozen=True)
class CategoryScores:
    """Metrics of a category.

    Attributes:
        figures: name -> percent (thresholds in units of the scores); NaN if undefined.
        counts: numbers of images, pixels and regions.
        notes: reasons for undefined metrics, and remarks on how they were computed.
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
    """Computes all metrics of a category.

    Args:
        image_scores: ``(N,)`` finite.
        labels: ``(N,)`` bool, whether the image is anomalous.
        open_maps: iterates over the maps of images with masks, from the start on every call.
        limits: limits of AUPRO's false-positive rate.
        histogram: count pixels in a single pass if that is accurate enough.
        legacy: also compute the 200-step estimator.
        max_positives: anomalous pixels held in memory at a time.
    """
    limits = tuple(limits)
    notes: list[str] = []
    labels = np.asarray(labels, bool)
    figures = _named("image", ranking_scores(ranking_curve(image_scores, labels)))
    if not labels.any():
        notes.append("no anomalous images: image and pixel metrics are undefined")
    elif labels.all():
        notes.append("no normal images: image metrics are undefined")
        figures = dict.fromkeys(figures, float("nan"))
    pixels = _pixels(open_maps, limits, histogram, legacy, max_positives, notes)
    if not pixels.positives + pixels.negatives:
        notes.append("no masks: pixel metrics are undefined")
    elif not pixels.positives and labels.any():
        notes.append("no anomalous pixels in the masks: pixel metrics are undefined")
    figures |= _named("pixel", pixels.ranking)
    figures |= {f"AUPRO@{limit:g}": 100 * value for limit, value in pixels.aupro.items()}
    if legacy:
        figures["AUPRO_legacy200"] = 100 * pixels.legacy_aupro
    counts = CategoryCounts(int((~labels).sum()), int(labels.sum()), pixels.regions, pixels.positives, pixels.negatives)
    return CategoryScores(figures, counts, tuple(notes))


def mean_scores(categories: Iterable[CategoryScores]) -> dict[str, float]:
    """Unweighted means over the categories in which a metric is defined; thresholds are not averaged."""
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
    """A sample of pixel scores from the first maps, including anomalous pixels."""
    picks = []
    for number, item in enumerate(open_maps()):
        if number == _SAMPLED_MAPS:
            break
        scores = item.checked().scores.ravel()
        picks += [scores[:: max(1, scores.size // _SAMPLED_PIXELS)], item.defective()[0][:_SAMPLED_PIXELS]]
    return np.concatenate(picks) if picks else np.zeros(0)
