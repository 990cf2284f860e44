"""The sample of COCO: panoptic labels of 133 classes, boxes of 80; and the reader of YOLO's boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.real_data import real_data
from ovperc.data.annotations import read_annotation
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.detection.yolo import read_yolo
from ovperc.data.layout import LayoutError
from ovperc.text.class_names import load_class_names


@pytest.mark.parametrize("split", ["val2017", "train2017"])
def test_all_label_maps_are_read(split: str) -> None:
    root = real_data("coco_sample")
    images = get_benchmark("coco-sample").images(root=root, split=split)
    assert len(images) == 100 and images.complete
    assert len(images.classes) == 133
    assert {name: len(labels) for name, labels in images.groups.items()} == {"thing": 80, "stuff": 53}
    found = np.unique(np.concatenate([np.unique(images[index].labels) for index in range(len(images))]))
    assert set(found.tolist()) <= {*range(133), 255} and len(found) > 100


def test_labels_are_the_category_ids_of_the_files() -> None:
    root = real_data("coco_sample") / "coco_sample"
    names = json.loads((root / "classes.json").read_text())["semantic"]
    images = get_benchmark("coco-sample").images(root=root)
    item = images[0]
    ids = read_annotation(root / "semantic" / "val2017" / f"{item.name}.png")
    for number in np.unique(ids).tolist():
        (label,) = np.unique(item.labels[ids == number]).tolist()
        if number == 0:
            assert label == 255
        else:  # every official word is one of the spoken ones
            spoken = images.classes[label].replace("playing field", "playingfield").split()
            official = names[str(number)].replace("-", " ").split()
            assert set(spoken) == set(official) - {"merged", "other", "stuff"}


def test_spoken_names() -> None:
    names = load_class_names("coco_panoptic").classes
    assert len(set(names)) == 133
    assert {"brick wall", "wood floor", "window blind", "window", "sky", "mirror", "playing field"} <= set(names)
    assert not [name for name in names if "-" in name or name.endswith(("merged", "other", "stuff"))]


def test_boxes_lie_on_their_objects() -> None:
    root = real_data("coco_sample")
    boxes = get_benchmark("coco-sample-boxes").images(root=root)
    assert (len(boxes), len(boxes.classes)) == (128, 80)
    labelled = get_benchmark("coco-sample").images(root=root)
    maps = {labelled[index].name: labelled[index].labels for index in range(5)}
    for index in range(len(boxes)):
        sample = boxes[index]
        if sample.name in maps:
            for label, (x0, y0, x1, y1) in zip(sample.labels, sample.boxes.round().astype(int), strict=True):
                inside = maps[sample.name][max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]
                assert (inside == label).any(), (sample.name, boxes.classes[label])
            del maps[sample.name]
    assert not maps


def test_unknown_split_gets_near_matches(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown split 'val2016'.*'val2017'"):
        get_benchmark("coco-sample").images(root=tmp_path, split="val2016")


def test_yolo_boxes(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (100, 50)).save(tmp_path / "images" / "a.jpg")
    label = tmp_path / "labels" / "a.txt"
    label.write_text("1 0.5 0.5 0.2 0.4\n")
    truth = read_yolo(tmp_path / "images", tmp_path / "labels", ("cat", "dog"))
    assert truth.images[0]["width"] == 100
    assert truth.annotations[0]["category_id"] == 2
    assert truth.annotations[0]["bbox"] == pytest.approx([40, 15, 20, 20])
    for line in ("2 0.5 0.5 0.2 0.4", "0 0.5 0.5 0.2", "x 0 0 0 0", "0 nan 0 0 0"):
        label.write_text(line)
        with pytest.raises(LayoutError, match=r"a\.txt: expected lines 'class cx cy w h'"):
            read_yolo(tmp_path / "images", tmp_path / "labels", ("cat", "dog"))
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(LayoutError, match="picture of a label file is missing"):
        read_yolo(tmp_path / "images", tmp_path / "labels", ("cat", "dog"))
    with pytest.raises(LayoutError, match=r"expected label files \*\.txt, found a\.jpg|found nothing"):
        read_yolo(tmp_path / "images", tmp_path / "images", ("cat", "dog"))
