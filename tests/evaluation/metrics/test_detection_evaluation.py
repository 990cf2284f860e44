"""Runs of ``ovperc test`` on detection sets: figures, protocol tags, resuming, shards, processes, files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.detection_fixtures import make_coco, make_lvis, make_panoptic, make_voc
from helpers.two_processes import in_two_processes
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.detection.detections import ImageDetections
from ovperc.data.world.detection import WorldDetection
from ovperc.data.world.regions import WorldRegions
from ovperc.evaluation.metrics.detection_voc import evaluate_voc
from ovperc.evaluation.metrics.region_accuracy import RegionAccuracy
from ovperc.evaluation.request import EvalOptions, EvaluationRequest, Shard
from ovperc.evaluation.run import evaluate, run_evaluation
from ovperc.tasks.detection.prediction import DetPrediction
from ovperc.tasks.methods import load_method
from ovperc.tasks.predictor import PredictorInfo


@dataclass
class Named:
    scores: np.ndarray


class Oracle:
    """Knows the truth of a set by its images; finds everything, or base classes alone."""

    def __init__(self, data, novel: bool = True, fail_after: int | None = None) -> None:
        self.samples = {data[index].image.tobytes(): data[index] for index in range(len(data))}
        self.hidden = () if novel else data.groups["novel"]
        self.info = PredictorInfo("oracle", "none", "none", "0", "cpu", "float32")
        self.left = fail_after
        self.calls = 0

    def predict(self, image, words) -> DetPrediction:
        if self.left is not None and self.calls >= self.left:
            raise KeyboardInterrupt
        self.calls += 1
        sample = self.samples[image.tobytes()]
        kept = ~sample.crowd & ~np.isin(sample.labels, self.hidden)
        masks = tuple(mask for mask, keep in zip(sample.masks, kept, strict=True) if keep) if sample.masks else None
        count = int(kept.sum())
        return DetPrediction(
            sample.boxes[kept], np.ones(count), sample.labels[kept], tuple(words), image.shape[:2], masks
        )

    def classify_regions(self, image, regions, words) -> Named:
        sample = self.samples[image.tobytes()]
        scores = np.zeros((len(regions), len(words)), np.float32)
        scores[np.arange(len(regions)), sample.labels[~sample.crowd]] = 1
        return Named(scores)


SMALL = ("data.num_scenes=6",)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch):
    def use(data, **settings) -> Oracle:
        answer = Oracle(data, **settings)
        monkeypatch.setattr("ovperc.tasks.load.load", lambda *_, **__: answer)
        return answer

    return use


def run(benchmark: str, work_dir: Path, **settings):
    request = EvaluationRequest("fvlm", work_dir=work_dir, **settings)
    return run_evaluation(request, get_benchmark(benchmark))


def test_who_finds_everything_scores_100(oracle, tmp_path: Path) -> None:
    oracle(WorldDetection("test", 6))
    summary = run("world-ovd", tmp_path, overrides=SMALL, summary_file=tmp_path / "copy.json")
    for name in ("AP50", "AP50.base", "AP50.novel", "AP", "mask.AP50", "mAcc1.box", "mAcc1.mask.novel"):
        assert summary.metrics[name] == pytest.approx(100), name
    protocol = summary.settings["protocol"]
    assert protocol["vocabulary"] == "40 classes in one vocabulary"
    assert protocol["headline"] == "AP50.novel"
    assert {"training", "CLIP weights", "image set", "split"} <= set(protocol)
    page = (tmp_path / "report.md").read_text()
    assert "no training image or caption shows one" in page
    assert "| AP50.novel | 100.00 |" in page
    assert json.loads((tmp_path / "copy.json").read_text())["metrics"]["AP50"] == pytest.approx(100)
    assert not list(tmp_path.glob("progress-*")), "notes of a finished run are gone"


def test_blindness_for_novel_classes_shows(oracle, tmp_path: Path) -> None:
    oracle(WorldDetection("test", 6), novel=False)
    scores = run("world-ovd", tmp_path, overrides=SMALL).metrics
    assert scores["AP50.base"] == pytest.approx(100)
    assert scores["AP50.novel"] == 0


def test_killed_runs_go_on(oracle, tmp_path: Path) -> None:
    data = WorldDetection("test", 6)
    oracle(data, fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        run("world-ovd", tmp_path, overrides=SMALL)
    second = oracle(data)
    summary = run("world-ovd", tmp_path, overrides=SMALL)
    assert summary.settings["resumed"] == 4
    assert second.calls == 2
    assert summary.metrics["AP50"] == pytest.approx(100)


def test_shards_add_up(oracle, tmp_path: Path) -> None:
    oracle(WorldDetection("test", 6), novel=False)
    whole = run("world-ovd", tmp_path / "whole", overrides=SMALL).metrics
    for number in (1, 2):
        options = EvalOptions(shard=Shard(number, 2))
        last = run("world-ovd", tmp_path / "parts", overrides=SMALL, options=options)
    assert last.settings["complete"]
    assert dict(last.metrics) == dict(whole)


def test_two_processes_equal_one(oracle, tmp_path: Path) -> None:
    oracle(WorldDetection("test", 5), novel=False)
    alone = run("world-ovd", tmp_path / "one", overrides=("data.num_scenes=5",)).metrics

    def work() -> dict[str, float]:
        options = EvalOptions(launcher="pytorch")
        return dict(run("world-ovd", tmp_path / "two", overrides=("data.num_scenes=5",), options=options).metrics)

    assert in_two_processes(work) == [dict(alone)] * 2


def test_saved_results_are_cocos(oracle, tmp_path: Path) -> None:
    oracle(WorldDetection("test", 6))
    run("world-ovd", tmp_path, overrides=SMALL, save_predictions=True, limit=2)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert set(rows[0]) == {"image_id", "category_id", "score", "bbox"}
    assert {row["image_id"] for row in rows} <= {1, 2}


@pytest.mark.parametrize(
    ("benchmark", "make", "figures"),
    [
        # the car without width is in the file, so it counts, and nobody finds it
        ("ov_coco", make_coco, {"AP50.base": 50, "AP50.novel": 100}),
        ("coco_transfer", make_coco, {"AP50": 75}),
        ("ov_lvis", make_lvis, {"APr": 100, "APf": 100}),
        ("voc07_transfer", make_voc, {"AP50": 100}),
    ],
)
def test_sets_on_disk(oracle, tmp_path: Path, benchmark: str, make, figures: dict[str, float]) -> None:
    root = tmp_path / "data"
    make(root)
    row = get_benchmark(benchmark)
    oracle(row.images(root=str(root)))
    summary = run(benchmark, tmp_path / "work", data_root=root)
    for name, value in figures.items():
        assert summary.metrics[name] == pytest.approx(value), name
    assert summary.settings["complete"]


def test_settings_of_segmentation_are_refused(oracle, tmp_path: Path) -> None:
    oracle(WorldDetection("test", 6))
    for settings, message in (
        ({"threshold": 0.5}, "--threshold is only supported for segmentation"),
        ({"panels": 2}, "--panels is only supported for segmentation"),
        ({"options": EvalOptions(presence=3)}, "--presence is only supported for segmentation"),
        ({"data_root": tmp_path}, "has no files"),
        ({"limit": 0}, "limit must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            run("world-ovd", tmp_path, overrides=SMALL, **settings)


def test_regions_are_named_by_any_method_of_segmentation(tmp_path: Path) -> None:
    summary = evaluate("maskclip", "world-regions", overrides=("data.num_scenes=4",), work_dir=tmp_path)
    assert load_method("maskclip").name == summary.settings["method"]
    assert 0 < summary.metrics["mAcc1.box"] < 100
    assert summary.metrics["mAcc5.mask.stuff"] >= summary.metrics["mAcc1.mask.stuff"]
    again = evaluate("maskclip", "world-regions", overrides=("data.num_scenes=4",), work_dir=tmp_path)
    assert dict(again.metrics) == dict(summary.metrics)


def test_regions_of_coco(tmp_path: Path) -> None:
    make_panoptic(tmp_path / "coco")
    folders = {"data_root": tmp_path / "coco", "work_dir": tmp_path / "work"}
    summary = evaluate("maskclip", "coco_regions", weights="clip-mini", **folders)
    assert summary.metrics["mAcc5.mask.thing"] == 100, "there are two words"


def test_world_regions_hold_things_and_stuff() -> None:
    regions = WorldRegions("test", 3)
    sample = regions[0]
    assert set(regions.groups) == {"base", "novel", "thing", "stuff"}
    masks = sample.dense_masks()
    assert not (masks.sum(axis=0) > 1).any(), "regions do not overlap"
    for box, mask in zip(sample.boxes.astype(int), masks, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_region_accuracy_by_hand() -> None:
    meter = RegionAccuracy(3, ("box",))
    scores = torch.tensor([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.5], [0.2, 0.1, 0.3]])
    meter.update("box", scores, torch.tensor([0, 1, 1, 0]))
    assert meter.accuracy("box").tolist()[:2] == [0.5, 0.5]
    assert torch.isnan(meter.accuracy("box")[2])
    assert meter.scores({"first": (0,)}) == {
        "mAcc1.box": 50, "mAcc1.box.first": 50, "mAcc5.box": 100, "mAcc5.box.first": 100
    }  # fmt: skip
    thirds = RegionAccuracy(1, ("box",))
    thirds.update_ranked("box", torch.tensor([[0], [1], [1]]), torch.zeros(3, dtype=torch.int64))
    assert thirds.scores(compat="clipself")["mAcc1.box"] == pytest.approx(100 * 0.333251953125, abs=1e-9)
    for wrong, message in ((torch.zeros(2, 3), "regions x classes"), (torch.full((4, 3), np.nan), "must be finite")):
        with pytest.raises(ValueError, match=message):
            meter.update("box", wrong, torch.zeros(4, dtype=torch.int64))


def voc_truth():
    from ovperc.data.detection.sample import DetectionTruth

    rows = [(1, [0, 0, 10, 10], 0), (1, [20, 0, 10, 10], 0), (2, [0, 0, 10, 10], 1)]
    annotations = tuple(
        {"id": k, "image_id": i, "category_id": 1, "bbox": b, "area": 100, "iscrowd": c}
        for k, (i, b, c) in enumerate(rows, start=1)
    )
    images = tuple({"id": number, "height": 40, "width": 40} for number in (1, 2))
    return DetectionTruth(images, annotations, (1,), ("dog",))


def test_voc_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10]], float)
    found = [
        ImageDetections(1, boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3, int)),
        ImageDetections(2, boxes[:1], np.array([0.95]), np.zeros(1, int)),
    ]
    # right, wrong (a second time), right; the difficult one counts neither way
    eleven = (6 * 1.0 + 5 * 2 / 3) / 11
    assert evaluate_voc(voc_truth(), found).scores()["AP50"] == pytest.approx(100 * eleven)
    area = 0.5 * 1.0 + 0.5 * 2 / 3
    assert evaluate_voc(voc_truth(), found, eleven_points=False).scores()["AP50"] == pytest.approx(100 * area)
