"""Evaluation: scores are those of the plain matrix, settings and versions are written, errors say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.labelled_images import SmallImages, ThresholdSegmenter, small_bank
from helpers.segmentation_run import score_segmenter
from ovperc.data.benchmarks import BENCHMARKS
from ovperc.evaluation.metrics import ConfusionMatrix
from ovperc.evaluation.request import EvalOptions, split_overrides
from ovperc.evaluation.run import evaluate
from ovperc.evaluation.store import PartStore


def expected_matrix(count: int) -> ConfusionMatrix:
    images, segmenter, matrix = SmallImages(count), ThresholdSegmenter(), ConfusionMatrix(3)
    for index in range(count):
        item = images[index]
        matrix.update(segmenter.segment(item.image, small_bank()).labels, item.labels)
    return matrix


@pytest.mark.parametrize("workers", [0, 2])
def test_scores_are_those_of_the_plain_matrix(tmp_path: Path, workers: int) -> None:
    found = score_segmenter(ThresholdSegmenter(), small_bank(), SmallImages(6), tmp_path, num_workers=workers).scores
    matrix = expected_matrix(6)
    assert {name: found[name] for name in matrix.scores()} == matrix.scores()
    assert found["mIoU.ends"] == pytest.approx(100 * float(matrix.iou()[[0, 2]].mean()))
    assert found["IoU.middle"] == 100 * float(matrix.iou()[1])


def test_log_is_in_the_work_dir_and_standard_output_stays_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"weights": "random", "arch": "clip-mini", "device": "cpu", "work_dir": tmp_path}
    for limit in (1, 2):
        evaluate("maskclip", "world-materials", overrides=["templates=plain"], limit=limit, **settings)
    log = (tmp_path / "run.log").read_text().splitlines()
    assert len(log) == 4 and "0 of 2 images are done" in log[2] and "mIoU " in log[3]
    assert capsys.readouterr().out == ""


def test_words_of_another_benchmark_are_refused(tmp_path: Path) -> None:
    bank = small_bank()
    other = type(bank)(bank.embeddings, bank.owners, ("a", "b", "c"), bank.fingerprint)
    with pytest.raises(ValueError, match="are not the classes of small"):
        score_segmenter(ThresholdSegmenter(), other, SmallImages(2), tmp_path)


def test_overrides_of_method_and_test_set_are_told_apart() -> None:
    assert split_overrides({"tiler.crop_px": 96, "data.seed": 2}) == ({"tiler.crop_px": 96}, {"seed": 2})


def test_a_method_on_the_world_writes_a_whole_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    settings = {"weights": "random", "arch": "clip-mini", "device": "cpu", "limit": 2, "work_dir": tmp_path}
    overrides = ["data.seed=3", "templates=plain"]
    summary = evaluate("maskclip", "world-materials", overrides=overrides, summary_file=tmp_path / "s.json", **settings)
    written = json.loads((tmp_path / "s.json").read_text())
    assert written == json.loads((tmp_path / "summary.json").read_text())
    assert written["metrics"] == pytest.approx(dict(summary.metrics))
    assert set(written["metrics"]) >= {"mIoU", "mAcc", "aAcc", "fwIoU"}
    assert written["settings"]["data"]["seed"] == 3 and written["settings"]["images"] == 2
    assert written["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert written["seconds"] > 0 and written["command"]


def test_settings_that_decide_results_keep_unfinished_runs_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PartStore, "clear", lambda self: None)
    settings = {"weights": "random", "arch": "clip-mini", "device": "cpu", "limit": 2, "work_dir": tmp_path}

    def resumed(*overrides: str, **more: object) -> int:
        given = {"overrides": ["templates=plain", *overrides], **settings, **more}
        return evaluate("maskclip", "world-materials", **given).settings["resumed"]

    assert resumed() == 0
    assert resumed() == 2
    assert resumed(limit=3) == 2, "how many images are scored decides no result"
    assert resumed(options=EvalOptions(presence=2)) == 0
    assert resumed("data.seed=1") == 0
    assert resumed("classifier.logit_scale=3.0") == 0
    assert resumed(save_predictions=True) == 0, "its images have no predictions on disk yet"


@pytest.mark.parametrize(
    ("method", "benchmark", "overrides", "message"),
    [
        ("sklip", "world-base", [], "sclip"),
        ("sclip", "world-bass", [], "did you mean 'world-base'"),
        ("sclip", "world-base", ["data.sed=1"], "did you mean 'seed'"),
        ("sclip", "world-base", ["oops"], "key=value"),
    ],
)
def test_unknown_names_get_near_matches(
    tmp_path: Path, method: str, benchmark: str, overrides: list[str], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate(method, benchmark, overrides=overrides, weights="random", arch="clip-mini", work_dir=tmp_path)


def test_world_real_without_scikit_image_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from ovperc.data.world.benchmark import load_photographs

    load_photographs.cache_clear()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        BENCHMARKS["world-real"].images()
