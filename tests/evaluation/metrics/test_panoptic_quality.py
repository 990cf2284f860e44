"""Panoptic quality against a plain implementation over sets of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from ovperc.core.panoptic import PanopticMap, Segment
from ovperc.evaluation.metrics.panoptic import PanopticQuality

CLASSES = 6


def random_map(rng: np.random.Generator, crowds: bool, size_hw: tuple[int, int] = (24, 30)) -> PanopticMap:
    """Overlapping rectangles on void, of few classes, so that some classes occur nowhere."""
    ids = np.zeros(size_hw, np.int64)
    labels = {}
    for number in rng.permutation(40)[: rng.integers(0, 9)].tolist():
        top, left = rng.integers(0, size_hw[0] - 4), rng.integers(0, size_hw[1] - 4)
        height, width = rng.integers(3, 16, 2)
        ids[top : top + height, left : left + width] = number + 1
        labels[number + 1] = int(rng.integers(0, CLASSES - 2))
    crowd = {key: bool(crowds and rng.random() < 0.3) for key in labels}
    present = set(np.unique(ids).tolist())
    segments = tuple(Segment(key, label, 1.0, crowd[key]) for key, label in labels.items() if key in present)
    return PanopticMap(ids, segments)


def jittered(truth: PanopticMap, rng: np.random.Generator) -> PanopticMap:
    """The annotation moved by a pixel or two, some classes changed, some segments lost, without crowds."""
    ids = np.roll(truth.ids, tuple(rng.integers(-2, 3, 2)), (0, 1))
    segments = []
    for segment in truth.segments:
        chance = rng.random()
        if chance < 0.15:
            ids = np.where(ids == segment.id, 0, ids)
        elif (ids == segment.id).any():
            label = segment.label if chance < 0.85 else (segment.label + 1) % CLASSES
            segments.append(Segment(segment.id, label))
    present = set(np.unique(ids).tolist())
    return PanopticMap(ids, tuple(segment for segment in segments if segment.id in present))


def pixels(panoptic: PanopticMap, segment_id: int) -> set[tuple[int, int]]:
    return set(zip(*np.nonzero(panoptic.ids == segment_id), strict=True))


def plain_counts(pairs: list[tuple[PanopticMap, PanopticMap]]) -> list[list[float]]:
    """Sum of IoU, matches, false positives and false negatives of each class, by the paper and panopticapi."""
    table = [[0.0, 0, 0, 0] for _ in range(CLASSES)]
    for predicted, truth in pairs:
        void = pixels(truth, 0)
        crowd_of = {segment.label: pixels(truth, segment.id) for segment in truth.segments if segment.crowd}
        unmatched = {segment.id for segment in truth.segments if not segment.crowd}
        for guess in predicted.segments:
            mine = pixels(predicted, guess.id)
            hit = False
            for real in truth.segments:
                theirs = pixels(truth, real.id)
                if real.crowd or real.label != guess.label:
                    continue
                iou = len(mine & theirs) / len((mine - void) | theirs)
                if iou > 0.5:
                    hit = True
                    unmatched.discard(real.id)
                    table[guess.label][0] += iou
                    table[guess.label][1] += 1
            ignored = len(mine & void) + len(mine & crowd_of.get(guess.label, set()))
            if not hit and ignored <= 0.5 * len(mine):
                table[guess.label][2] += 1
        for real in truth.segments:
            table[real.label][3] += real.id in unmatched
    return table


def plain_mean(table: list[list[float]], labels: range) -> tuple[float, float, float]:
    rows = []
    for label in labels:
        iou, hits, extra, missed = table[label]
        if hits + extra + missed:
            rq = hits / (hits + 0.5 * extra + 0.5 * missed)
            sq = iou / hits if hits else 0.0
            rows.append((sq * rq, sq, rq))
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True)) if rows else (0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", range(6))
def test_figures_equal_a_plain_implementation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [random_map(rng, crowds=seed % 2 == 1) for _ in range(8)]
    pairs = [(jittered(truth, rng), truth) for truth in truths[:5]]
    pairs += [(random_map(rng, crowds=False), truth) for truth in truths[5:]]
    quality = PanopticQuality(CLASSES)
    for predicted, truth in pairs:
        quality.add(quality.count(predicted, truth))
    table = plain_counts(pairs)
    assert np.allclose(quality.counts, table, atol=1e-12)
    assert quality.counts[:, 1:].any(axis=0).all(), "matches, false positives and false negatives all occur"
    figures = quality.figures({"things": range(3), "stuff": range(3, CLASSES), "nowhere": range(5, CLASSES)})
    for suffix, labels in (("", range(CLASSES)), (".things", range(3)), (".stuff", range(3, CLASSES))):
        found = [figures[f"{name}{suffix}"] / 100 for name in ("PQ", "SQ", "RQ")]
        assert found == pytest.approx(plain_mean(table, labels), abs=1e-12)
    assert figures["PQ.nowhere"] == plain_mean(table, range(5, CLASSES))[0] * 100


def counts_of(predicted: np.ndarray, truth: np.ndarray, crowd: bool = False) -> list[float]:
    """Counts of class 0 where both maps hold one segment, id 1."""
    quality = PanopticQuality(1)
    maps = PanopticMap(predicted, (Segment(1, 0),)), PanopticMap(truth, (Segment(1, 0, crowd=crowd),))
    return quality.count(*maps)[0].tolist()


def test_an_iou_of_one_half_is_no_match() -> None:
    assert counts_of(np.array([[1, 1]]), np.array([[1, 0]])) == [1.0, 1, 0, 0], "void is left out of the union"
    other = PanopticMap(np.array([[1, 2]]), (Segment(1, 0), Segment(2, 0)))
    both = PanopticMap(np.array([[1, 1]]), (Segment(1, 0),))
    assert PanopticQuality(1).count(both, other)[0].tolist() == [0, 0, 1, 2]


def test_predictions_on_void_and_crowds_are_no_errors() -> None:
    assert counts_of(np.array([[1, 1, 1, 0, 0]]), np.array([[0, 0, 1, 1, 1]])) == [0, 0, 0, 1], "two thirds void"
    assert counts_of(np.array([[1, 1, 0]]), np.array([[1, 1, 1]]), crowd=True) == [0, 0, 0, 0]


def test_classes_that_occur_nowhere_are_left_out() -> None:
    quality = PanopticQuality(3)
    exact = PanopticMap(np.ones((2, 2), int), (Segment(1, 1),))
    quality.add(quality.count(exact, exact))
    assert quality.of_class(0) is None
    assert (quality.mean().pq, quality.mean().classes) == (1.0, 1)
    assert quality.mean([0, 2]).classes == 0 and quality.mean([0, 2]).pq == 0.0


def test_maps_that_do_not_fit() -> None:
    small, large = (PanopticMap(np.zeros(size, int), ()) for size in ((2, 2), (2, 3)))
    with pytest.raises(ValueError, match=r"one size; got \(2, 2\) and \(2, 3\)"):
        PanopticQuality(2).count(small, large)
    stray = PanopticMap(np.ones((2, 2), int), (Segment(1, 2),))
    with pytest.raises(ValueError, match=r"0\.\.1; segment 1: 2"):
        PanopticQuality(2).count(small, stray)
