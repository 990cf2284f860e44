"""Folders in, one table and pictures out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovperc.cli.main import main
from ovperc.tasks.anomaly.prediction import AnomalyPrediction


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("parts", "good"):
        (tmp_path / name).mkdir()
        for index in range(3):
            pixels = rng.integers(90, 110, (40, 56, 3), dtype=np.uint8)
            if name == "parts" and index == 2:
                pixels[10:25, 20:40] = 255
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    (tmp_path / "parts" / "broken.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    return tmp_path


def _rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["image"]).name: row for row in csv.DictReader(file)}


def test_few_shot_run(folders, capsys):
    out = folders / "out"
    arguments = ["predict", str(folders / "parts"), "--method", "patch_memory", "--out", str(out)]
    status = main([*arguments, "--normal", str(folders / "good"), "--fpr", "0.25", "--min-area", "5"])
    assert status == 1  # one file is no image
    rows = _rows(out)
    assert list(rows) == ["0.png", "1.png", "2.png", "broken.png"]
    assert rows["2.png"]["anomalous"] == "1" and int(rows["2.png"]["anomalous_px"]) > 50
    assert float(rows["2.png"]["score"]) > float(rows["0.png"]["score"])
    assert "not an image" in rows["broken.png"]["error"] and rows["broken.png"]["score"] == ""
    left, top, right, bottom = map(int, rows["2.png"]["largest_box"].split())
    assert left < 30 < right and top < 18 < bottom
    loaded = AnomalyPrediction.load(out / "2.json")
    assert loaded.is_anomalous and loaded.size_hw == (40, 56)
    assert {file.name for file in out.iterdir()} >= {"2.png", "2.json", "2_heat.png", "scores.csv"}
    shown = capsys.readouterr()
    assert "broken.png" in shown.err and "2.png -> " in shown.out


def test_zero_shot_run_with_settings_and_thresholds(folders):
    out = folders / "zero"
    arguments = ["predict", str(folders / "good" / "1.png"), "--method", "clip_baseline", "--quiet"]
    status = main([*arguments, "--threshold", "0", "--set", "head.tau=0.07", "--scale", "0", "1", "--out", str(out)])
    assert status == 0 and _rows(out)["1.png"]["anomalous"] == "1" and _rows(out)["1.png"]["regions"] == "0"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--method", "patch_memory"], "fit(normal_images)"),
        (["--method", "patch_memory", "--normal", "EMPTY"], "no image in the folder"),
        (
            ["--method", "maskclip", "--object", "nut"],
            "option of anomaly methods; maskclip is a segmentation",
        ),
        (["--method", "anomalyclipp"], "anomalyclip"),
        (["--method", "clip_baseline", "--object", " "], "object_name"),
        (["--method", "clip_baseline", "--set", "head.tauu=1"], "tauu"),
    ],
)
def test_runs_that_cannot_start_say_why(folders, capsys, extra, message):
    extra = [str(folders / "empty") if part == "EMPTY" else part for part in extra]
    status = main(["predict", str(folders / "parts"), "--out", str(folders / "none"), *extra])
    assert status == 2 and not (folders / "none").exists()
    assert message in capsys.readouterr().err


def test_a_folder_without_images_is_one_failure(folders):
    out = folders / "out"
    arguments = ["predict", str(folders / "empty"), "--method", "clip_baseline", "--quiet", "--out", str(out)]
    assert main(arguments) == 1
    assert list(_rows(out)) == ["empty"]
