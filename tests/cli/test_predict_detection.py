"""``ovperc predict`` with a method of detection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovperc.cli.main import main
from ovperc.tasks.detection.prediction import DetPrediction


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        pixels = np.random.default_rng(0).integers(90, 130, (60, 80, 3), dtype=np.uint8)
        pixels[15:45, 20:50] = (205, 38, 38)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def run(photos: Path, tmp_path: Path, *extra: str, words: str = "red object, star") -> int:
    options = ["--words", words, "--out", str(tmp_path / "out"), "--quiet", "--device", "cpu", *extra]
    return main(["predict", str(photos), "--method", "fvlm", *options])


def test_each_image_gets_a_picture_and_a_document(photos: Path, tmp_path: Path) -> None:
    assert run(photos, tmp_path, "--format", "native,picture,labelme", "--min-score", "0.05") == 0
    written = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert written == sorted(f"{stem}{end}" for stem in "ab" for end in (".json", "_detections.png", "_labelme.json"))
    found = DetPrediction.load(tmp_path / "out" / "a")
    assert found.names == ("red object", "star") and found.size_hw == (60, 80)
    assert (found.scores >= 0.05).all() and found.source == str(photos / "a.png")
    assert json.loads((tmp_path / "out" / "a_labelme.json").read_text())["imageWidth"] == 80


def test_bad_images_and_words_have_their_exit_status(photos: Path, tmp_path: Path, capsys) -> None:
    (photos / "c.png").write_bytes(b"nothing")
    assert run(photos, tmp_path) == 1
    assert "c.png" in capsys.readouterr().err
    assert run(photos, tmp_path, words=" , ") == 2
    assert run(photos, tmp_path, "--method", "maskclip", "--min-score", "0.2") == 2
    assert "--min-score is an option of detection methods" in capsys.readouterr().err
    assert run(photos, tmp_path, "--method", "fvml") == 2
