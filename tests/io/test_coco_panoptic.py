"""COCO's panoptic format, read back as panopticapi reads it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ovperc.cli.main import main
from ovperc.core.panoptic import Segment
from ovperc.data.world.scene import make_scene
from ovperc.io.panoptic import read_ids, write_ids
from ovperc.io.writers.base import OutputSettings
from ovperc.io.writers.table import choose_writers
from ovperc.tasks.panoptic.prediction import PanopticPrediction


def test_ids_are_colours(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 255], [256, 65536, (1 << 24) - 1]], np.int32)
    write_ids(tmp_path / "ids.png", ids)
    blue, green, red = np.moveaxis(cv2.imread(str(tmp_path / "ids.png")).astype(int), -1, 0)
    assert np.array_equal(red + 256 * green + 65536 * blue, ids)
    assert np.array_equal(read_ids(tmp_path / "ids.png"), ids)
    with pytest.raises(ValueError, match=r"must lie in 0..16777215; got 0..16777216"):
        write_ids(tmp_path / "ids.png", np.array([[0, 1 << 24]]))


def test_files_that_are_no_map(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match="must be an RGB PNG; got mode L"):
        read_ids(tmp_path / "grey.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot read the panoptic map"):
        read_ids(tmp_path / "broken.png")


def test_one_document_holds_the_run(tmp_path: Path) -> None:
    ids = np.array([[1, 1, 2, 0], [3, 3, 3, 3]])
    segments = (Segment(1, 0, 0.9), Segment(2, 0, 0.8), Segment(3, 1, 0.7))
    found = PanopticPrediction(ids, segments, ("cat", "grass"), (0,))
    empty = PanopticPrediction(np.zeros((3, 3), int), (), ("cat", "grass"), (0,))
    writer = choose_writers("coco-panoptic", "panoptic", OutputSettings((".png", ".json"), "panoptic"))["coco-panoptic"]
    for source, prediction in (("photos/a.jpg", found), ("b.jpg", empty)):
        writer.write(tmp_path, Path(source).stem, prediction, lambda: Image.new("RGB", (4, 4)))
        writer.record(source, prediction)
    writer.finish(tmp_path)
    document = json.loads((tmp_path / "panoptic.json").read_text(encoding="utf-8"))
    assert document["images"] == [
        {"id": 1, "file_name": "photos/a.jpg", "width": 4, "height": 2},
        {"id": 2, "file_name": "b.jpg", "width": 3, "height": 3},
    ]
    assert document["categories"] == [{"id": 0, "name": "cat", "isthing": 1}, {"id": 1, "name": "grass", "isthing": 0}]
    first, second = document["annotations"]
    assert (first["image_id"], first["file_name"], second["segments_info"]) == (1, "a.png", [])
    assert [(row["id"], row["category_id"], row["area"]) for row in first["segments_info"]] == [
        (1, 0, 2),
        (2, 0, 1),
        (3, 1, 4),
    ]
    assert first["segments_info"][1]["bbox"] == [2.0, 0.0, 1.0, 1.0]
    assert np.array_equal(read_ids(tmp_path / "panoptic" / "a.png"), ids)


def test_other_tasks_have_no_such_format() -> None:
    with pytest.raises(ValueError, match="segmentation methods do not support format 'coco-panoptic'"):
        choose_writers("coco-panoptic", "segmentation", OutputSettings((".png", ".json"), "overlay"))


def test_command_line_writes_it_again_over_its_own_files(tmp_path: Path) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    Image.fromarray(make_scene((777, 0, 3)).image).save(photo)
    command = [
        "predict",
        str(photo),
        "--method",
        "panoptic_surgery",
        "--words",
        "plain green object",
        "--stuff",
        "wood",
    ]
    command += ["--weights", "clip-mini", "--out", str(out), "--format", "native,picture,coco-panoptic"]
    assert main(command) == main(command) == 0
    assert (out / "photo_panoptic.png").is_file()
    (row,) = json.loads((out / "panoptic.json").read_text(encoding="utf-8"))["annotations"]
    saved = PanopticPrediction.load(out / "photo")
    assert np.array_equal(read_ids(out / "panoptic" / row["file_name"]), saved.ids)
    assert [part["id"] for part in row["segments_info"]] == [segment.id for segment in saved.segments]


def test_stuff_is_an_option_of_panoptic_methods_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "photo.jpg", "--words", "cat", "--stuff", "sky", "--out", "out"]) == 2
    assert "--stuff is an option of panoptic methods; maskclip is a segmentation method" in capsys.readouterr().err
