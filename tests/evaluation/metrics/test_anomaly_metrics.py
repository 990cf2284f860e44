"""Ranking figures against scikit-learn, AUPRO against a loop over thresholds, and cases at the edge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.anomaly_fixtures import all_pixels, noisy_maps, plain_aupro, plain_legacy_aupro
from ovperc.evaluation.metrics.anomaly import PixelScores, pixel_scores, region_curve
from ovperc.evaluation.metrics.anomaly_counts import NormalCounts, PositiveScores, ScoredMap
from ovperc.evaluation.metrics.anomaly_histogram import ScoreHistogram, quantile_edges, uniform_edges
from ovperc.evaluation.metrics.aupro import aupro, region_weights
from ovperc.evaluation.metrics.ranking import ranking_curve, ranking_scores

STEPS = pytest.mark.parametrize("step", [0.0, 0.25, 1.0, 4.0])


def _plain_auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    difference = scores[labels][:, None] - scores[~labels][None]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


@STEPS
def test_ranking_equals_scikit_learn(step: float) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, labels = all_pixels(noisy_maps(step=step))
    precision, recall, thresholds = metrics.precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    found = ranking_scores(ranking_curve(scores, labels))
    assert found.auroc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert found.ap == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)
    assert found.aupr == pytest.approx(metrics.auc(recall, precision), abs=1e-12)
    assert found.f1_max == pytest.approx(f1.max(), abs=1e-12)
    assert found.f1_threshold == pytest.approx(thresholds[f1.argmax()])


@STEPS
def test_streamed_figures_equal_a_sort_of_all_pixels(step: float) -> None:
    maps = noisy_maps(step=step)
    scores, labels = all_pixels(maps)
    found = pixel_scores(lambda: maps, (0.3, 0.05, 1.0), legacy=True)
    assert found.ranking.auroc == pytest.approx(_plain_auroc(scores[::3], labels[::3]), abs=0.05)
    whole = ranking_scores(ranking_curve(scores, labels))
    for name in ("auroc", "ap", "aupr", "f1_max", "f1_threshold"):
        assert getattr(found.ranking, name) == pytest.approx(getattr(whole, name), abs=1e-12)
    for limit, value in found.aupro.items():
        assert value == pytest.approx(plain_aupro(maps, limit), abs=1e-12)
    if step < 4:
        assert found.legacy_aupro == pytest.approx(plain_legacy_aupro(maps), abs=1e-12)


@pytest.mark.parametrize("most", [40, 150, 400])
@pytest.mark.parametrize("step", [0.0, 0.25])
def test_bands_of_scores_change_nothing(most: int, step: float) -> None:
    maps = noisy_maps(step=step)
    _same(pixel_scores(lambda: maps, legacy=True, max_positives=most), pixel_scores(lambda: maps, legacy=True))


def _same(one: PixelScores, two: PixelScores) -> None:
    assert one.aupro == pytest.approx(two.aupro, abs=1e-12)
    assert one.legacy_aupro == pytest.approx(two.legacy_aupro, abs=1e-12)
    assert vars(one.ranking) == pytest.approx(vars(two.ranking), abs=1e-12)
    assert (one.regions, one.positives, one.negatives) == (two.regions, two.positives, two.negatives)


def test_order_of_images_changes_nothing() -> None:
    maps = noisy_maps(step=0.5)
    _same(pixel_scores(lambda: maps, legacy=True), pixel_scores(lambda: maps[::-1], legacy=True))


def test_counts_of_processes_add_up() -> None:
    maps = noisy_maps(step=0.25)
    parts = [PositiveScores(), PositiveScores()]
    for index, item in enumerate(maps):
        parts[index % 2].add(*item.defective()[:2])
    parts[0].merge(parts[1])
    counts = [NormalCounts(parts[0].join()[0]) for _ in range(2)]
    for index, item in enumerate(maps):
        counts[index % 2].add(item.normal())
    counts[0].count()
    counts[0].cells += counts[1].count()
    regions = sum(item.defective()[2] for item in maps)
    curve = region_curve(parts[0], counts[0], regions)
    whole = pixel_scores(lambda: maps)
    assert ranking_scores(curve.ranking).auroc == pytest.approx(whole.ranking.auroc, abs=1e-12)
    assert aupro(curve, 0.3) == pytest.approx(whole.aupro[0.3], abs=1e-12)


def test_single_pixel_defect_counts_as_much_as_a_large_one() -> None:
    scores = np.zeros((8, 8), np.float32)
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[3:7, 3:7] = True
    scores[0, 0] = 1.0  # the pixel is found, the large region is not
    maps = [ScoredMap(scores, mask)]
    found = pixel_scores(lambda: maps, (0.3,))
    assert found.regions == 2
    # From (0, 0.5) straight to (1, 1): what remains ties with all normal pixels.
    assert found.aupro[0.3] == pytest.approx(0.5 + 0.5 * 0.15)


def test_regions_touch_at_corners() -> None:
    mask = np.eye(4, dtype=bool)
    weights, regions = region_weights(mask)
    assert regions == 1
    np.testing.assert_array_equal(weights, [0.25] * 4)


@pytest.mark.parametrize("value", [0.0, -3.5, 0.5])
def test_equal_scores_know_nothing(value: float) -> None:
    maps = [ScoredMap(np.full((6, 6), value, np.float32), np.eye(6, dtype=bool)) for _ in range(2)]
    found = pixel_scores(lambda: maps, (0.3, 0.05), legacy=True)
    assert found.ranking.auroc == pytest.approx(0.5)
    assert found.aupro == pytest.approx({0.3: 0.15, 0.05: 0.025})
    assert found.ranking.ap == pytest.approx(1 / 6)
    assert found.ranking.f1_max == pytest.approx(2 * 12 / (72 + 12))
    assert math.isnan(found.legacy_aupro)


def test_perfect_map() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    found = pixel_scores(lambda: [ScoredMap(mask.astype(np.float32), mask)])
    assert vars(found.ranking) == pytest.approx(
        {"auroc": 1.0, "ap": 1.0, "aupr": 1.0, "f1_max": 1.0, "f1_threshold": 1.0}
    )
    assert found.aupro == pytest.approx({0.3: 1.0, 0.05: 1.0})


def test_without_defects_or_without_normal_pixels_figures_are_undefined() -> None:
    scores = np.arange(12, dtype=np.float32).reshape(3, 4)
    good = pixel_scores(lambda: [ScoredMap(scores)], legacy=True)
    assert all(map(math.isnan, (good.ranking.auroc, good.ranking.ap, good.ranking.f1_max, good.aupro[0.3])))
    assert math.isnan(good.legacy_aupro)
    bad = pixel_scores(lambda: [ScoredMap(scores, np.ones((3, 4), bool))], legacy=True)
    assert math.isnan(bad.ranking.auroc) and math.isnan(bad.aupro[0.3]) and math.isnan(bad.legacy_aupro)
    assert bad.ranking.ap == 1.0
    assert math.isnan(ranking_scores(ranking_curve(np.zeros(0), np.zeros(0))).auroc)
    assert math.isnan(pixel_scores(list).ranking.auroc)


def test_float32_scores_closer_than_float32_can_tell_apart_tie() -> None:
    scores = np.float32([[0.1, np.nextafter(np.float32(0.1), np.float32(1)), 0.1, 0.2]])
    mask = np.array([[True, False, False, False]])
    found = pixel_scores(lambda: [ScoredMap(scores, mask)])
    assert found.ranking.auroc == pytest.approx((0 + 0.5 + 0) / 3)


def test_rising_transform_keeps_exact_figures_but_not_the_legacy_one() -> None:
    maps = noisy_maps(12)
    bent = [ScoredMap(1 / (1 + np.exp(-4 * item.scores.astype(np.float64))), item.mask) for item in maps]
    one, two = pixel_scores(lambda: maps, legacy=True), pixel_scores(lambda: bent, legacy=True)
    assert one.aupro == pytest.approx(two.aupro, abs=1e-9)
    assert abs(one.legacy_aupro - two.legacy_aupro) > 0.01


def test_bad_maps_are_refused() -> None:
    scores = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match=r"wood/3: the mask is \(4, 5\), the map \(4, 4\)"):
        pixel_scores(lambda: [ScoredMap(scores, np.zeros((4, 5), bool), "wood/3")])
    scores = scores.copy()
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="wood/3: 1 of 16 scores are not finite"):
        pixel_scores(lambda: [ScoredMap(scores, None, "wood/3")])
    with pytest.raises(ValueError, match="scores must be finite"):
        ranking_curve(np.array([np.inf, 0]), np.array([0, 1]))
    with pytest.raises(ValueError, match="same length"):
        ranking_curve(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        pixel_scores(lambda: [], limits=(0.0,))


@pytest.mark.parametrize("bins", [64, 1024, 65536])
def test_bracket_of_a_histogram_holds_the_exact_figures(bins: int) -> None:
    maps = noisy_maps(20)
    exact = pixel_scores(lambda: maps)
    histogram = ScoreHistogram(uniform_edges(-4, 5, bins))
    for item in maps:
        histogram.add(item)
    found, bracket = histogram.scores((0.3, 0.05)), histogram.bracket((0.3, 0.05))
    assert bracket.auroc[0] <= exact.ranking.auroc <= bracket.auroc[1]
    assert bracket.auroc[0] <= found.ranking.auroc <= bracket.auroc[1]
    for limit, (low, high) in bracket.aupro.items():
        assert low <= exact.aupro[limit] <= high
        assert low <= found.aupro[limit] <= high
    assert bracket.width < {64: 0.1, 1024: 0.01, 65536: 2e-3}[bins]


def test_histogram_is_exact_on_scores_that_are_bins() -> None:
    maps = noisy_maps(10, step=0.25)
    scores, _ = all_pixels(maps)
    histograms = [ScoreHistogram(quantile_edges(scores)) for _ in range(2)]
    for index, item in enumerate(maps):
        histograms[index % 2].add(item)
    histograms[0].merge(histograms[1])
    histograms[0].all_reduce()  # one process: nothing changes
    exact, found = pixel_scores(lambda: maps), histograms[0].scores((0.3, 0.05))
    assert found.aupro == pytest.approx(exact.aupro, abs=1e-12)
    for name in ("auroc", "ap", "aupr", "f1_max"):
        assert getattr(found.ranking, name) == pytest.approx(getattr(exact.ranking, name), abs=1e-12)


def test_histogram_errors() -> None:
    with pytest.raises(ValueError, match="low < high"):
        uniform_edges(1.0, 1.0)
    with pytest.raises(ValueError, match="2 different"):
        quantile_edges(np.zeros(4))
    with pytest.raises(ValueError, match="ascending"):
        ScoreHistogram(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="different edges"):
        ScoreHistogram(np.array([0.0])).merge(ScoreHistogram(np.array([1.0])))
