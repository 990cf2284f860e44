"""``ovperc predict`` as a user runs it: every task by its method, every format, names that never take a user's file."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from ovperc.cli.main import main
from ovperc.io.images import read_image
from ovperc.tasks.anomaly.prediction import AnomalyPrediction
from ovperc.tasks.detection.prediction import DetPrediction
from ovperc.tasks.segmentation.prediction import SegPrediction

ROOT = Path(__file__).parents[2]
SEGMENT = ("--words", "red object, grass", "--set", "templates=plain", "tiler.short_side_px=48", "tiler.crop_px=48")
DETECT = ("--method", "fvlm", "--words", "red object, star", "--min-score", "0.05")
INSPECT = ("--method", "clip_baseline", "--threshold", "0", "--pixel-threshold", "1e-9")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(90, 130, (60, 80, 3), dtype=np.uint8)
    pixels[15:45, 20:50] = (205, 38, 38)
    Image.fromarray(pixels).save(folder / "part.png")
    return folder


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments), "--device", "cpu", "--quiet"])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_method_decides_the_task(photos: Path, tmp_path: Path) -> None:
    image = photos / "part.png"
    for task, options in (("seg", SEGMENT), ("det", DETECT), ("anomaly", INSPECT)):
        assert predict(image, "--out", tmp_path / task, *options) == 0
    assert names(tmp_path / "seg") == {"part.png", "part.json", "part_overlay.png"}
    assert names(tmp_path / "det") == {"part.json", "part_detections.png"}
    assert names(tmp_path / "anomaly") == {"part.png", "part.json", "part_heat.png", "scores.csv"}
    assert SegPrediction.load(tmp_path / "seg" / "part").names == ("red object", "grass")
    assert DetPrediction.load(tmp_path / "det" / "part").names == ("red object", "star")
    assert AnomalyPrediction.load(tmp_path / "anomaly" / "part").is_anomalous


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "maskclip", "--words", "a", "--normal", "good"), "--normal is an option of anomaly methods"),
        (
            ("--method", "anomalyclip", "--words", "a"),
            "--words is an option of segmentation, detection and panoptic methods; anomalyclip is an anomaly method",
        ),
        (("--method", "fvlm", "--words", "a", "--threshold", "0.2"), "fvlm is a detection method"),
        (("--method", "fvlm"), "--words"),
        (("--words", "a", "--task", "segmentation"), "--task is not needed"),
        (("--words", "a", "--format", "cocoo"), "did you mean 'coco'"),
        (("--words", "a", "--format", "npy"), "segmentation methods do not support format 'npy'"),
        (("--words", "a", "--set", "tiler.crop"), "key=value"),
    ],
)
def test_usage_errors(photos: Path, tmp_path: Path, capsys, options: tuple[str, ...], message: str) -> None:
    assert predict(photos, "--out", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "prediction"),
    [(SEGMENT, SegPrediction), (DETECT, DetPrediction), (INSPECT, AnomalyPrediction)],
    ids=["segmentation", "detection", "anomaly"],
)
def test_every_task_has_the_annotation_formats(photos: Path, tmp_path: Path, options, prediction) -> None:
    out = tmp_path / "out"
    assert predict(photos, "--out", out, *options, "--format", "native,coco,labelme,yolo-seg") == 0
    assert {"coco.json", "part_labelme.json", "labels/part.txt", "data.yaml"} < names(out)
    coco = COCO(str(out / "coco.json"))
    assert coco.imgs[1]["file_name"] == str(photos / "part.png") and coco.imgs[1]["height"] == 60
    expected = prediction.load(out / "part").annotations().objects
    assert len(coco.anns) == len(expected) > 0
    for annotation, entry in zip(coco.anns.values(), expected, strict=True):
        assert annotation["area"] == entry.area_px and annotation["category_id"] == entry.label
        assert "segmentation" not in annotation or coco.annToMask(annotation).sum() == entry.area_px
    assert json.loads((out / "part_labelme.json").read_text())["imageWidth"] == 80


def test_exact_maps(photos: Path, tmp_path: Path, capsys) -> None:
    assert predict(photos, "--out", tmp_path / "out", *INSPECT, "--format", "npy") == 0
    assert names(tmp_path / "out") == {"part.npy", "part.json"}
    assert np.load(tmp_path / "out" / "part.npy").dtype == np.float32
    assert predict(photos, "--out", tmp_path / "out", *INSPECT, "--format", "npy,scores") == 0
    assert predict(photos, "--out", tmp_path / "out", *INSPECT, "--format", "npy,native") == 2
    assert "the formats npy and native" in capsys.readouterr().err


@pytest.mark.parametrize("options", [SEGMENT, INSPECT], ids=["segmentation", "anomaly"])
def test_an_input_is_never_replaced(photos: Path, capsys, options: tuple[str, ...]) -> None:
    before = digest(photos / "part.png")
    assert predict(photos / "part.png", "--out", photos, *options) == 2
    assert "part.png is an input" in capsys.readouterr().err
    assert digest(photos / "part.png") == before and names(photos) == {"part.png"}


def test_a_neighbours_json_is_kept(photos: Path, capsys) -> None:
    (photos / "part.json").write_text('{"mine": true}')
    assert predict(photos / "part.png", "--out", photos, *DETECT) == 2
    assert "part.json exists and was not written by ovperc" in capsys.readouterr().err
    assert (photos / "part.json").read_text() == '{"mine": true}' and names(photos) == {"part.png", "part.json"}
    assert predict(photos / "part.png", "--out", photos, *DETECT, "--overwrite") == 0
    assert DetPrediction.load(photos / "part").size_hw == (60, 80)


def test_a_run_may_be_repeated_over_its_own_files(photos: Path) -> None:
    Image.open(photos / "part.png").save(photos / "photo.jpg")
    (photos / "part.png").unlink()
    formats = ("--format", "native,picture,coco,labelme,yolo")
    for _ in range(2):
        assert predict(photos, "--out", photos, *SEGMENT, *formats) == 0
        assert names(photos) == {
            "photo.jpg", "photo.png", "photo.json", "photo_overlay.png", "photo_labelme.json", "coco.json", "data.yaml",
            "labels/photo.txt",
        }  # fmt: skip
        assert len(COCO(str(photos / "coco.json")).imgs) == 1
    assert predict(photos / "photo.jpg", "--out", photos, *INSPECT) == 0
    assert predict(photos / "photo.jpg", "--out", photos, *INSPECT) == 0


def test_names_that_meet_are_refused_before_the_first_image(photos: Path, tmp_path: Path, capsys) -> None:
    for name in ("x.png", "x_overlay.png"):
        Image.fromarray(read_image(photos / "part.png")).save(photos / name)
    assert predict(photos, "--out", tmp_path / "out", *SEGMENT) == 2
    assert "x_overlay.png is needed for" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_saving_into_a_folder_keeps_the_users_files(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = SegPrediction(np.zeros((4, 4), int), np.ones((4, 4)), ("red",), source="part.png")
    monkeypatch.chdir(photos)
    before = digest(photos / "part.png")
    for place in (".", "part", "part.png"):
        with pytest.raises(FileExistsError, match=r"part\.png"):
            prediction.save(place)
    assert digest(photos / "part.png") == before and names(photos) == {"part.png"}
    prediction.save("copy")
    prediction.save("copy")
    other = SegPrediction(np.zeros((4, 4), int), np.ones((4, 4)), ("red",), source="copy.jpg")
    other.save(".")


def test_interrupt_writes_the_scores_of_what_is_complete(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    Image.open(photos / "part.png").save(photos / "second.png")
    draw = AnomalyPrediction.draw

    def interrupted(self, *arguments, **options):
        if self.source.endswith("second.png"):
            raise KeyboardInterrupt
        return draw(self, *arguments, **options)

    monkeypatch.setattr(AnomalyPrediction, "draw", interrupted)
    assert predict(photos, "--out", tmp_path / "out", *INSPECT) == 130
    assert names(tmp_path / "out") == {"part.png", "part.json", "part_heat.png", "scores.csv"}
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        assert [Path(row["image"]).name for row in csv.DictReader(file)] == ["part.png"]
    assert "results of completed images are kept" in capsys.readouterr().err


def test_terminate_is_a_clean_stop(photos: Path, tmp_path: Path) -> None:
    for number in range(200):
        os.link(photos / "part.png", photos / f"{number}.png")
    command = [sys.executable, "-m", "ovperc", "predict", str(photos), "--out", str(tmp_path / "out"), *INSPECT]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "0.png" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        _, told = process.communicate(timeout=60)
        assert process.returncode == 143 and time.monotonic() - started < 60
    assert told == "error: terminated; results of completed images are kept\n"
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        done = {Path(row["image"]).stem for row in csv.DictReader(file)}
    assert names(tmp_path / "out") == {"scores.csv"} | {
        f"{stem}{ending}" for stem in done for ending in (".png", ".json", "_heat.png")
    }


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_no_utf8(photos: Path, tmp_path: Path) -> None:
    os.rename(photos / "part.png", os.fsencode(photos) + b"/caf\xe9.png")
    assert predict(photos, "--out", tmp_path / "out", *INSPECT) == 0
    with (tmp_path / "out" / "scores.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["image"].endswith("caf\\udce9.png") and row["error"] == ""


def test_a_folder_named_like_an_image_is_no_image(photos: Path, tmp_path: Path) -> None:
    (photos / "frames.png").mkdir()
    assert predict(photos, "--out", tmp_path / "out", *SEGMENT) == 0
    assert names(tmp_path / "out") == {"part.png", "part.json", "part_overlay.png"}


def test_help_offers_what_each_task_has(capsys) -> None:
    assert main(["predict", "--help"]) == 0
    shown = capsys.readouterr().out
    shared = "segmentation, detection and panoptic methods:"
    for title in (shared, "detection methods:", "panoptic methods:", "anomaly methods:"):
        assert f"\n{title}\n" in shown
    assert "--task" not in shown and "coco" in shown
