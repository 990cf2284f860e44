"""Regions, files and pictures of a prediction."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ovperc.tasks.anomaly.calibration import Calibration
from ovperc.tasks.anomaly.prediction import AnomalyPrediction
from ovperc.tasks.anomaly.regions import find_regions


def _map() -> np.ndarray:
    scores = np.full((20, 30), 0.1, np.float32)
    scores[2:6, 3:10] = 0.6
    scores[3:5, 5:8] = 0.0  # a hole
    scores[10, 20] = scores[11, 21] = 0.9  # one region over a corner
    return scores


def test_regions():
    large, small = find_regions(_map(), 0.5)[::-1]
    assert (large.box, large.area_px) == ((3, 2, 10, 6), 22)
    assert large.peak == pytest.approx(0.6)
    assert len(large.contours) == 2 and (3, 2) in large.contours[0] + large.contours[1]
    assert (small.box, small.area_px, round(small.peak, 3)) == ((20, 10, 22, 12), 2, 0.9)
    assert [region.area_px for region in find_regions(_map(), 0.5, min_area_px=3)] == [22]
    assert find_regions(_map(), None) == () == find_regions(_map(), 2.0)
    assert find_regions(np.ones((1, 1), np.float32), 1.0)[0].area_px == 1


def _prediction() -> AnomalyPrediction:
    calibration = Calibration("normal", 0.4, 0.5, num_images=4, fpr=0.2, note="few")
    return AnomalyPrediction(
        _map(), 0.55, "metal nut", calibration, find_regions(_map(), 0.5), source="parts/7.png", metadata={"a": [1]}
    )


@pytest.mark.parametrize("exact", [False, True])
def test_files_round_trip(tmp_path, exact):
    prediction = _prediction()
    files = prediction.save(tmp_path / "part.7", exact=exact)
    assert [file.name for file in files] == ["part.7.npy" if exact else "part.7.png", "part.7.json"]
    loaded = AnomalyPrediction.load(tmp_path / "part.7.json")
    np.testing.assert_allclose(loaded.map, prediction.map, atol=0 if exact else 0.9 / 131070 * 1.01)
    assert loaded.regions == prediction.regions and loaded.calibration == prediction.calibration
    assert (loaded.image_score, loaded.object_name, loaded.is_anomalous) == (0.55, "metal nut", True)
    record = json.loads(files[1].read_text(encoding="utf-8"))
    assert record["is_anomalous"] is True and record["regions"][0]["area_px"] == 2


def test_constant_maps_are_kept(tmp_path):
    AnomalyPrediction(np.full((3, 4), 0.25, np.float32), 0.1).save(tmp_path / "flat")
    loaded = AnomalyPrediction.load(tmp_path / "flat")
    np.testing.assert_array_equal(loaded.map, np.float32(0.25))
    assert loaded.is_anomalous is None


def test_damaged_files(tmp_path):
    _prediction().save(tmp_path / "x")
    (tmp_path / "x.png").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"x\.png"):
        AnomalyPrediction.load(tmp_path / "x")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match="not a saved AnomalyPrediction"):
        AnomalyPrediction.load(tmp_path / "x")
    with pytest.raises(ValueError, match=r"y\.json"):
        AnomalyPrediction.load(tmp_path / "y")


def test_values_that_are_no_map():
    for bad in (np.full((2, 2), np.nan, np.float32), np.zeros((0, 2), np.float32), np.zeros(4), np.zeros((2, 2), int)):
        with pytest.raises(ValueError, match="map"):
            AnomalyPrediction(bad, 0.0)
    with pytest.raises(ValueError, match="finite"):
        AnomalyPrediction(np.zeros((2, 2), np.float32), float("nan"))


def test_pictures_of_one_scale_can_be_compared():
    image = np.zeros((20, 30, 3), np.uint8)
    prediction = _prediction()
    picture = np.asarray(prediction.draw(image))
    assert picture.shape[0] == 20 * 15 and picture.shape[1] > 30 * 15
    cold = AnomalyPrediction(np.full((20, 30), 0.1, np.float32), 0.0).draw(image)
    np.testing.assert_array_equal(np.asarray(cold)[-5:, :5], picture[-5:, :5])  # 0.1 has one colour in both
    other = np.asarray(prediction.draw(image, scale=(0.0, 0.2)))
    assert (other[-5:, :5] != picture[-5:, :5]).any()
    assert "metal nut" in repr(prediction) and "2 regions" in repr(prediction)
