"""Thresholds from normal and from labelled images."""

from __future__ import annotations

import numpy as np
import pytest

from ovperc.tasks.anomaly.calibration import Calibration, best_f1_threshold


def test_rate_on_new_images_of_the_same_kind():
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(400):
        scores = rng.random(19).astype(np.float32)
        found = Calibration.from_normal(scores, scores, 0.1)
        assert found.note == "" and found.num_images == 19
        alarms.append(np.mean(rng.random(200) >= found.image_threshold))
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.01)


def test_ranks_by_hand():
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    found = Calibration.from_normal(scores, scores[::-1], 0.2)  # ceil(10 * 0.8) = 8th smallest
    assert 0.8 < found.image_threshold < 0.8001 and 0.8 < found.pixel_threshold < 0.8001
    assert found.is_anomalous(np.float32(0.81)) and not found.is_anomalous(np.float32(0.8))


def test_too_few_images_say_so():
    found = Calibration.from_normal([0.2, 0.4], [0.3, 0.5], 0.01)
    assert 0.4 < found.image_threshold < 0.41
    assert "use at least 99 images" in found.note and "0.333" in found.note


def test_best_f1_against_all_thresholds():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores, truth = rng.integers(0, 6, 30).astype(float), rng.random(30) < 0.4
        truth[0] = True
        f1 = {t: 2 * (truth & (scores >= t)).sum() / ((scores >= t).sum() + truth.sum()) for t in np.unique(scores)}
        best = max(f1.values())
        assert best_f1_threshold(scores, truth) == max(t for t, value in f1.items() if value == best)


def test_labelled_images_with_masks():
    mask = np.zeros((4, 4), bool)
    mask[1, 1] = True
    found = Calibration.from_labelled([0.1, 0.9], [False, True], [np.zeros((4, 4)), mask * 0.7], [mask & False, mask])
    assert (found.image_threshold, found.pixel_threshold) == (0.9, 0.7)
    found = Calibration.from_labelled([0.1, 0.9], [False, True], [np.zeros((4, 4))], [mask & False])
    assert found.pixel_threshold is None and "no pixel threshold" in found.note


def test_what_cannot_be_calibrated():
    assert Calibration().is_anomalous(3.0) is None
    with pytest.raises(ValueError, match="fpr"):
        Calibration.from_normal([0.1], [0.1], 0.0)
    with pytest.raises(ValueError, match="at least one normal image"):
        Calibration.from_normal([], [], 0.1)
    with pytest.raises(ValueError, match="not finite"):
        Calibration.from_normal([np.nan], [0.1], 0.1)
    with pytest.raises(ValueError, match="normal and anomalous"):
        Calibration.from_labelled([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="size of its map"):
        Calibration.from_labelled([0.1, 0.2], [True, False], [np.zeros((2, 2))], [np.zeros((3, 3), bool)])
    with pytest.raises(ValueError, match="one mask per map"):
        Calibration.from_labelled([0.1, 0.2], [True, False], [np.zeros((2, 2))], [])
    with pytest.raises(ValueError, match="finite"):
        Calibration("given", float("inf"))
    with pytest.raises(ValueError, match="labelled"):
        Calibration("labeled")
