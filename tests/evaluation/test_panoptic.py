"""Evaluation of panoptic segmentation: figures, resuming, and predictions in COCO's format."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import ovperc.evaluation.request
from ovperc.cli.main import main
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.panoptic.sample import PanopticImages
from ovperc.evaluation.request import EvaluationRequest
from ovperc.evaluation.run import evaluate
from ovperc.io.panoptic import read_ids
from ovperc.tasks.panoptic.prediction import PanopticPrediction
from ovperc.tasks.predictor import PredictorInfo

SCENES = 5


class Oracle:
    """Knows the annotation of every image; things of even images are called by the next class."""

    info = PredictorInfo("oracle", "none", "none", "", "cpu", "float32")

    def __init__(self, images: PanopticImages) -> None:
        self.images = images

    def query(self, words: tuple[str, ...], stuff: list[str]) -> tuple[str, ...]:
        assert [words[label] for label in self.images.groups["stuff"]] == stuff
        return words

    def predict(self, image: np.ndarray, query: tuple[str, ...]) -> PanopticPrediction:
        things = self.images.groups["thing"]
        (index,) = (index for index in range(SCENES) if np.array_equal(self.images[index].image, image))
        truth = self.images[index].panoptic
        segments = tuple(
            dataclasses.replace(part, label=(part.label + 1) % len(things))
            if part.label in things and index % 2 == 0
            else part
            for part in truth.segments
        )
        return PanopticPrediction(truth.ids, segments, query, things)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> PanopticImages:
    images = get_benchmark("world-panoptic").images(num_scenes=SCENES)
    monkeypatch.setattr(EvaluationRequest, "load", lambda self, *_: Oracle(images))
    return images


def test_figures_and_predictions(oracle: PanopticImages, tmp_path: Path) -> None:
    summary = evaluate(
        "panoptic_surgery", "world-panoptic", overrides=[f"data.num_scenes={SCENES}"], work_dir=tmp_path,
        save_predictions=True,
    )  # fmt: skip
    metrics, per_class = summary.metrics, summary.details["per_class"]
    assert metrics["PQ.stuff"] == metrics["SQ.stuff"] == metrics["RQ.stuff"] == 100
    assert 0 < metrics["PQ.thing"] < metrics["PQ"] < 100
    assert set(metrics) == {f"{f}{g}" for f in ("PQ", "SQ", "RQ") for g in ("", ".thing", ".stuff", ".base", ".novel")}
    assert metrics["PQ"] == pytest.approx(np.mean(list(per_class["PQ"].values())))
    assert summary.settings["complete"] and summary.settings["images"] == SCENES
    document = json.loads((tmp_path / "predictions" / "panoptic.json").read_text())
    assert len(document["annotations"]) == SCENES and len(document["categories"]) == len(oracle.classes)
    row, sample = document["annotations"][1], oracle[1]
    assert row["image_id"] == sample.image_id
    assert np.array_equal(read_ids(tmp_path / "predictions" / "panoptic" / row["file_name"]), sample.panoptic.ids)
    found = {part["id"]: part["category_id"] for part in row["segments_info"]}
    assert found == {part.id: oracle.category_ids[part.label] for part in sample.panoptic.segments}


def test_a_run_in_shards_equals_a_whole_run(oracle: PanopticImages, tmp_path: Path) -> None:
    settings = {"overrides": [f"data.num_scenes={SCENES}"]}
    shard = ovperc.evaluation.request.Shard
    options = [ovperc.evaluation.request.EvalOptions(shard=shard(number, 2)) for number in (1, 2)]
    parts = [
        evaluate("panoptic_surgery", "world-panoptic", options=part, work_dir=tmp_path / "parts", **settings)
        for part in options
    ]
    whole = evaluate("panoptic_surgery", "world-panoptic", work_dir=tmp_path / "whole", **settings)
    assert not parts[0].settings["complete"] and parts[1].settings["complete"]
    assert parts[1].metrics == whole.metrics


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["test", "panoptic_surgery", "--benchmark", "world-panoptic", "--weights", "clip-mini", "--limit", "2"]
    assert main([*command, "--work-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "panoptic_surgery on world-panoptic, 2 images" in shown and "PQ, things" in shown
    assert main(["test", "clip_surgery", "--benchmark", "world-panoptic", "--work-dir", str(tmp_path)]) == 2
    assert "is for segmentation, benchmark 'world-panoptic' for panoptic" in capsys.readouterr().err
    assert main([*command, "--presence", "3", "--work-dir", str(tmp_path)]) == 2
    assert "--presence is only supported for segmentation" in capsys.readouterr().err
