"""``make demo``: every picture is segmented and written, offline, and the sheet shows them all."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.tiny_models import tiny_clip
from ovperc.tasks import load as loading
from ovperc.tasks.methods import load_method
from ovperc.tasks.predictor import PredictorInfo
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tasks.segmentation.prediction import SegPrediction
from ovperc.tasks.segmentation.predictor import SegPredictor
from ovperc.text.encoder import TextEncoder

DEMO = Path(__file__).parents[2] / "demo"
NAMES = ("astronaut", "cat", "coffee", "rocket")

pytest.importorskip("skimage", reason="the photographs are scikit-image's")


@pytest.fixture
def run_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(DEMO))
    return importlib.import_module("run_all")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the demo reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_writes_every_picture_and_the_sheet(run_all, no_network, tmp_path, monkeypatch, capsys) -> None:
    method = load_method("maskclip", {"tiler.short_side_px": 96})
    clip = tiny_clip("vit", pos_embed=method.pos_embed)
    info = PredictorInfo("maskclip", clip.source, clip.arch, clip.fingerprint, "cpu", "float32")
    encoder = TextEncoder(clip.text, clip.fingerprint, "plain")
    monkeypatch.setattr(loading, "load", lambda **_: SegPredictor(build_segmenter(method, clip), encoder, info))
    assert run_all.main(["--out", str(tmp_path), "--weights", "clip-mini"]) == 0
    expected = {f"{name}{ending}" for name in NAMES for ending in (".png", ".json", "_overlay.png")}
    assert {file.name for file in tmp_path.iterdir()} == {*expected, "demo.png"}
    assert SegPrediction.load(tmp_path / "coffee").size_hw == (400, 600)
    assert min(Image.open(tmp_path / "demo.png").size) > 600
    told = capsys.readouterr().out
    assert str(tmp_path / "demo.png") in told


def test_the_world_is_shown_with_the_share_of_correct_pixels(run_all, no_network, tmp_path, capsys) -> None:
    pictures = importlib.import_module("pictures").world_pictures()
    predictor = loading.load("clip_surgery", "clip-mini")
    for picture in pictures:
        assert run_all.segment(predictor, picture, tmp_path).size_hw == picture.image.shape[:2]
    assert capsys.readouterr().out.count("of the pixels are correct") == len(pictures) == 2


def test_objects_and_anomalies_are_shown_too(run_all, no_network, tmp_path, capsys) -> None:
    tasks = importlib.import_module("other_tasks")
    for picture in (tasks.detect(tmp_path, scenes=1), tasks.find_anomalies(tmp_path)):
        assert min(Image.open(picture).size) > 300
    told = capsys.readouterr().out
    assert "objects detected" in told
    assert "wood: burn" in told


def test_truth_of_a_scene_names_what_it_shows(run_all) -> None:
    pictures = importlib.import_module("pictures")
    picture = pictures.scene_picture("world-base", 0, "a scene", size_px=112)
    assert picture.truth.shape == picture.image.shape[:2]
    shown = {picture.words[label] for label in np.unique(picture.truth)}
    assert shown < set(picture.words)
    assert any("object" in word for word in shown)


def test_missing_weights_are_a_usage_error(run_all, tmp_path: Path, capsys) -> None:
    assert run_all.main(["--out", str(tmp_path / "out"), "--weights", "absent.pt"]) == 2
    assert "absent.pt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
