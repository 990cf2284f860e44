"""Evaluation over categories: figures by hand, going on after an interruption, shards, protocol settings."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from helpers.anomaly_fixtures import all_pixels, plain_aupro
from ovperc.data.benchmarks import get_benchmark
from ovperc.evaluation.anomaly import pack_mask, resize_mask, spread, unpack_mask
from ovperc.evaluation.anomaly_settings import AnomalyEvalSettings
from ovperc.evaluation.metrics.anomaly_counts import ScoredMap
from ovperc.evaluation.metrics.anomaly_report import score_category
from ovperc.evaluation.metrics.ranking import ranking_curve, ranking_scores
from ovperc.evaluation.request import EvalOptions, EvaluationRequest, Shard
from ovperc.evaluation.run import run_evaluation
from ovperc.tasks.anomaly.map_upsampler import MapUpsampler
from ovperc.tasks.anomaly.score import AnomalyScore
from ovperc.tasks.predictor import PredictorInfo

METHOD = """'''A stub.'''
method = dict(task="anomaly", head=dict(type="PatchMemoryHead"), tiler=dict(type="SquareTiler", size_px=112))
"""
RENDERER = MapUpsampler(8)
INFO = PredictorInfo("stub", "none", "none", "0", "cpu", "float32")
SMALL = ["data.good=2", "data.per_kind=1", "data.categories=('marble', 'square')"]


@dataclasses.dataclass(frozen=True)
class _Edges:
    """Scores patches by how much their colour differs from the image's; remembers how many images it was shown."""

    needs_fit: bool = False
    shown: int = 0
    calls: list[Any] = dataclasses.field(default_factory=list)
    stop_after: int | None = None
    bad: float | None = None
    upsampler: MapUpsampler = RENDERER
    info: PredictorInfo = INFO

    @property
    def head(self) -> Any:
        return SimpleNamespace(needs_fit=self.needs_fit)

    def fit(self, images: Sequence[np.ndarray], object_name: str) -> _Edges:
        return dataclasses.replace(self, shown=len(images), needs_fit=False)

    def score(self, images: Sequence[np.ndarray], object_name: str) -> list[AnomalyScore]:
        assert not self.needs_fit
        self.calls.append((object_name, len(images)))
        if self.stop_after is not None and len(self.calls) > self.stop_after:
            raise KeyboardInterrupt
        return [self._score(image) for image in images]

    def _score(self, image: np.ndarray) -> AnomalyScore:
        patches = image.astype(np.float32).reshape(14, 8, 14, 8, 3).mean((1, 3))
        grid = np.abs(patches - patches.mean((0, 1))).mean(2) + self.shown
        if self.bad is not None:
            grid[0, 0] = self.bad
        return AnomalyScore(grid, float(grid.max()), image.shape[:2])


@pytest.fixture
def method(tmp_path: Path) -> Path:
    path = tmp_path / "stub.py"
    path.write_text(METHOD)
    return path


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets an evaluation use a stub; returns a function that sets its fields."""

    def use(**fields: Any) -> _Edges:
        predictor = _Edges(**fields)
        monkeypatch.setattr("ovperc.tasks.load.load", lambda *_, **__: predictor)
        return predictor

    return use


def _run(method: Path, work_dir: Path, *more: str, **settings: Any) -> Any:
    row = get_benchmark("world-anomaly")
    request = EvaluationRequest(method, overrides=[*SMALL, *more], work_dir=work_dir, **settings)
    return run_evaluation(request, row)


def test_figures_are_those_of_rendered_maps(method: Path, stub: Any, tmp_path: Path) -> None:
    predictor = stub()
    summary = _run(method, tmp_path / "w", summary_file=tmp_path / "s.json")
    images = get_benchmark("world-anomaly").images(good=2, per_kind=1, categories=("marble", "square"))
    expected = []
    for category in images.categories:
        samples = [images[i] for i, record in enumerate(images.records) if record.category == category]
        answers = predictor.score([sample.image for sample in samples], "")
        maps = [
            ScoredMap(predictor.upsampler.upsample(answer.grid, (112, 112)), sample.mask)
            for answer, sample in zip(answers, samples, strict=True)
        ]
        pixels = ranking_scores(ranking_curve(*all_pixels(maps)))
        image = ranking_scores(
            ranking_curve(
                np.array([answer.image_score for answer in answers]),
                np.array([sample.record.anomalous for sample in samples]),
            )
        )
        expected.append([image.auroc, image.f1_max, pixels.auroc, pixels.ap, pixels.f1_max])
        found = summary.details["per_category"][category]
        names = ("image_AUROC", "image_F1max", "pixel_AUROC", "pixel_AP", "pixel_F1max")
        assert [found[name] / 100 for name in names] == pytest.approx(expected[-1], abs=1e-9)
    mean = np.mean(expected, 0)
    assert summary.metrics["pixel_AUROC"] == pytest.approx(100 * mean[2])
    assert 0 < summary.metrics["AUPRO@0.05"] < summary.metrics["AUPRO@0.3"] < 100
    stored = json.loads((tmp_path / "w" / "summary.json").read_text())
    assert stored == json.loads((tmp_path / "s.json").read_text())
    assert stored["settings"]["complete"] is False  # two categories of ten
    report = (tmp_path / "w" / "report.md").read_text()
    assert "| marble |" in report and "| **mean** |" in report
    assert not list((tmp_path / "w").glob("progress-*"))  # a finished run leaves no notes


def test_aupro_of_a_category_equals_the_loop() -> None:
    rng = np.random.default_rng(0)
    maps = [ScoredMap(rng.normal(size=(20, 20)).astype(np.float32), rng.random((20, 20)) > 0.9) for _ in range(3)]
    found = score_category(np.arange(3.0), np.array([1, 1, 0], bool), lambda: maps)
    assert found.figures["AUPRO@0.3"] == pytest.approx(100 * plain_aupro(maps, 0.3))


def test_killed_run_goes_on_to_the_same_figures(method: Path, stub: Any, tmp_path: Path) -> None:
    stub()
    whole = _run(method, tmp_path / "whole")
    options = EvalOptions(save_every_s=0)
    stub(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        _run(method, tmp_path / "w", "eval.batch=2", options=options)
    assert not (tmp_path / "w" / "summary.json").exists()
    rest = stub()
    again = _run(method, tmp_path / "w", "eval.batch=2", options=options)
    assert again.settings["resumed"] == 4
    assert sum(count for _, count in rest.calls) == again.settings["images"] - 4
    assert again.metrics == pytest.approx(whole.metrics, abs=1e-9)


def test_batches_workers_and_shards_change_nothing(method: Path, stub: Any, tmp_path: Path) -> None:
    stub()
    whole = _run(method, tmp_path / "a", "eval.batch=1").metrics
    assert _run(method, tmp_path / "b", options=EvalOptions(num_workers=2)).metrics == whole
    first = _run(method, tmp_path / "c", options=EvalOptions(shard=Shard(1, 2)))
    assert first.settings["images"] < first.settings["images_in_set"]
    second = _run(method, tmp_path / "c", options=EvalOptions(shard=Shard(2, 2)))
    assert second.settings["images"] == second.settings["images_in_set"]
    assert second.metrics == pytest.approx(whole, abs=1e-9)


def test_histograms_agree_and_say_how_closely(method: Path, stub: Any, tmp_path: Path) -> None:
    stub()
    exact = _run(method, tmp_path / "a").metrics
    binned = _run(method, tmp_path / "b", "eval.pixels=histogram")
    for name in ("pixel_AUROC", "AUPRO@0.3", "AUPRO@0.05"):
        assert binned.metrics[name] == pytest.approx(exact[name], abs=0.01)


def test_shots(method: Path, stub: Any, tmp_path: Path) -> None:
    stub(needs_fit=True)
    assert _run(method, tmp_path / "a").settings["protocol"]["shots"] == 4
    assert _run(method, tmp_path / "b", "shots=2").settings["protocol"]["shots"] == 2
    with pytest.raises(ValueError, match="shots is 0"):
        _run(method, tmp_path / "c", "shots=0")
    with pytest.raises(ValueError, match="shots=40 normal images of 'marble'"):
        _run(method, tmp_path / "c", "shots=40")
    zero = stub()
    _run(method, tmp_path / "d")
    assert {name for name, _ in zero.calls} == {"marble", "plain cyan square"}


def test_size_of_evaluation_and_maps_on_disk(method: Path, stub: Any, tmp_path: Path) -> None:
    stub()
    summary = _run(method, tmp_path / "w", "eval.size_px=56", save_predictions=True)
    assert summary.settings["protocol"]["size_px"] == 56
    counts = summary.details["counts"]["marble"]
    assert counts["defective_pixels"] + counts["normal_pixels"] == 6 * 56 * 56
    maps = sorted((tmp_path / "w" / "predictions").rglob("*.npy"))
    assert len(maps) == 12
    assert np.load(maps[0]).shape == (56, 56)


def test_limit_takes_from_everywhere(method: Path, stub: Any, tmp_path: Path) -> None:
    stub()
    summary = _run(method, tmp_path / "w", limit=6)
    assert summary.settings["images"] == 6
    assert not summary.settings["complete"]
    assert set(summary.details["per_category"]) == {"marble", "square"}
    images = get_benchmark("world-anomaly").images(good=2, per_kind=1)
    assert spread(images, 10_000) == list(range(len(images)))
    with pytest.raises(ValueError, match="limit must be"):
        spread(images, 0)


def test_undefined_figures_say_why(method: Path, stub: Any, tmp_path: Path) -> None:
    stub()
    none = _run(method, tmp_path / "a", "data.per_kind=0")
    assert math.isnan(none.metrics["image_AUROC"])
    assert "no anomalous image" in none.details["notes"]["marble"][0]
    assert "no anomalous image" in (tmp_path / "a" / "report.md").read_text()
    all_bad = _run(method, tmp_path / "b", "data.good=0")
    assert math.isnan(all_bad.metrics["image_AUROC"]) and math.isnan(all_bad.metrics["image_AP"])
    assert not math.isnan(all_bad.metrics["pixel_AUROC"])
    assert "no normal image" in all_bad.details["notes"]["marble"][0]
    without = score_category(np.arange(2.0), np.array([True, False]), list)
    assert "no masks" in without.notes[0]
    assert without.figures["image_AUROC"] == 0


def test_settings_that_mean_nothing_are_refused(method: Path, stub: Any, tmp_path: Path) -> None:
    stub()
    with pytest.raises(ValueError, match="threshold is only supported for segmentation"):
        _run(method, tmp_path, threshold=0.5)
    with pytest.raises(ValueError, match="panels"):
        _run(method, tmp_path, panels=3)
    with pytest.raises(ValueError, match=r"no setting eval.sise_px.*size_px"):
        _run(method, tmp_path, "eval.sise_px=3")
    with pytest.raises(ValueError, match="omit --data-root"):
        _run(method, tmp_path, data_root=tmp_path)
    with pytest.raises(ValueError, match=r"eval.batch must be an integer of at least 1; got 0"):
        AnomalyEvalSettings(batch=0)
    with pytest.raises(ValueError, match=r"unknown eval.pixels"):
        AnomalyEvalSettings(pixels="both")
    stub(bad=np.nan)
    with pytest.raises(ValueError, match=r"marble/good/000: the method returned non-finite scores"):
        _run(method, tmp_path)


def test_masks_are_packed_without_loss() -> None:
    mask = np.random.default_rng(0).random((9, 13)) > 0.5
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask)), mask)
    assert unpack_mask({}) is None


def test_masks_are_resized_as_published_protocols_do() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    assert resize_mask(mask, None) is mask
    small = resize_mask(mask, 4)
    np.testing.assert_array_equal(small, np.pad(np.ones((2, 2), bool), 1))
