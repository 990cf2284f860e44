"""Readers of COCO, LVIS, Objects365, VOC and panoptic files, on tiny copies of their layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.detection_fixtures import (
    BASE_IDS,
    NOVEL_IDS,
    SIZE_HW,
    annotation,
    coco_categories,
    half_mask,
    make_coco,
    make_lvis,
    make_objects365,
    make_panoptic,
    make_voc,
    write_json,
)
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.detection.annotations import read_annotations
from ovperc.data.detection.panoptic import PanopticRegions
from ovperc.data.detection.splits import OV_COCO_BASE, OV_COCO_NOVEL, OV_COCO_UNUSED
from ovperc.data.layout import LayoutError
from ovperc.evaluation.detection import known_names
from ovperc.io.coco import decode_rle


def test_the_three_groups_are_cocos_80_classes():
    assert [len(group) for group in (OV_COCO_BASE, OV_COCO_NOVEL, OV_COCO_UNUSED)] == [48, 17, 15]
    assert len({*OV_COCO_BASE, *OV_COCO_NOVEL, *OV_COCO_UNUSED}) == 80


def test_ov_coco_has_65_classes_by_rising_id(tmp_path: Path):
    make_coco(tmp_path)
    images = get_benchmark("ov_coco").images(root=tmp_path)
    truth = images.truth()
    assert len(images) == 4
    assert len(images.classes) == 65
    assert list(truth.category_ids) == sorted(BASE_IDS + NOVEL_IDS)
    assert {name: len(labels) for name, labels in images.groups.items()} == {"base": 48, "novel": 17}
    assert truth.names[truth.groups["novel"][0]] == "airplane"
    first = images[0]
    assert [images.classes[label] for label in first.labels] == ["person", "cat"]
    assert first.boxes.tolist() == [[2, 3, 22, 33], [30, 5, 64, 25]], "clipped to the picture"
    assert [row["bbox"] for row in truth.annotations[:2]][1] == [30, 5, 40, 20], "the truth is as in the file"
    assert first.dense_masks()[0].sum() == 600


def test_odd_annotations_of_coco(tmp_path: Path):
    make_coco(tmp_path)
    images = get_benchmark("ov_coco").images(root=tmp_path)
    second, third, fourth = (images[index] for index in (1, 2, 3))
    assert second.crowd.tolist() == [True]
    assert len(second.boxes) == 1, "a box without width is left out"
    assert np.array_equal(second.dense_masks()[0], decode_rle(half_mask()))
    for empty in (third, fourth):
        assert empty.boxes.shape == (0, 4)
        assert empty.dense_masks().shape == (0, *SIZE_HW)


def test_choices_of_ov_coco(tmp_path: Path):
    make_coco(tmp_path)
    make_coco(tmp_path, "train")
    assert len(get_benchmark("ov_coco").images(root=tmp_path, image_set="with_boxes")) == 2
    asked = get_benchmark("ov_coco").images(root=tmp_path, vocabulary="80")
    assert asked.classes[65:] == OV_COCO_UNUSED
    assert len(asked.truth().names) == 65
    train = get_benchmark("ov_coco").images(root=tmp_path, split="train")
    assert all(row["category_id"] in BASE_IDS for row in train.truth().annotations)
    assert [row["id"] for row in train.truth().images] == [139, 285]
    with pytest.raises(ValueError, match="vocabulary must be one of 65, 80; got '81'"):
        get_benchmark("ov_coco").images(root=tmp_path, vocabulary="81")


def test_files_with_65_categories_load_too(tmp_path: Path):
    make_coco(tmp_path)
    kept = coco_categories(BASE_IDS + NOVEL_IDS)
    other = make_coco(tmp_path / "other", categories=kept)
    assert (
        get_benchmark("ov_coco").images(root=tmp_path, annotations=str(other)).truth()
        == get_benchmark("ov_coco").images(root=tmp_path).truth()
    )


def test_lvis(tmp_path: Path):
    make_lvis(tmp_path)
    make_lvis(tmp_path, "train")
    images = get_benchmark("ov_lvis").images(root=tmp_path)
    assert images.classes == ("alarm clock", "bow (weapon)", "crouton")
    assert dict(images.groups) == {"r": (2,), "c": (1,), "f": (0,)}
    assert [len(images[index].labels) for index in (0, 1)] == [2, 1]
    assert images.truth().images[0]["neg_category_ids"] == [2]
    train = get_benchmark("ov_lvis").images(root=tmp_path, split="train")
    assert len(train.classes) == 3, "labels stay those of all classes"
    assert [row["category_id"] for row in train.truth().annotations] == [1]


def test_transfers(tmp_path: Path):
    make_objects365(tmp_path / "objects365")
    make_voc(tmp_path / "VOCdevkit" / "VOC2007")
    make_coco(tmp_path / "coco")
    objects = get_benchmark("objects365_transfer").images(root=tmp_path)
    assert objects.classes == ("tissue", "cabinet or shelf")
    assert objects[0].boxes.tolist() == [[3.5, 4.25, 24.0, 14.25]]
    assert objects[0].masks == ()
    voc = get_benchmark("voc07_transfer").images(root=tmp_path)
    assert len(voc.classes) == 20
    assert voc[0].boxes.tolist() == [[0, 4, 20, 48], [29, 0, 64, 20]]
    assert voc[0].crowd.tolist() == [False, True]
    coco = get_benchmark("coco_transfer").images(root=tmp_path)
    assert len(coco.classes) == 80
    known = known_names(voc.classes, {"bird", "dog", "zebra"})
    assert known == "2 of 20: bird, dog"


def test_panoptic(tmp_path: Path):
    make_panoptic(tmp_path)
    regions = PanopticRegions(tmp_path)
    assert regions.classes == ("person", "sky")
    assert regions.groups == {"thing": (0,), "stuff": (1,)}
    sample = regions[0]
    assert sample.labels.tolist() == [1, 0, 0]
    assert sample.boxes.tolist() == [[0, 0, 64, 20], [10, 24, 30, 44], [40, 24, 60, 44]]
    assert sample.dense_masks().sum(axis=(1, 2)).tolist() == [1280, 400, 400]
    assert len(PanopticRegions(tmp_path, keep_crowds=False)[0].labels) == 2


def test_missing_pictures(tmp_path: Path):
    make_coco(tmp_path)
    (tmp_path / "val2017" / "000000000285.jpg").unlink()
    with pytest.raises(LayoutError, match=r"1 of 4 pictures are missing: .*000000000285\.jpg"):
        get_benchmark("ov_coco").images(root=tmp_path)
    partial = get_benchmark("ov_coco").images(root=tmp_path, partial=True)
    assert len(partial) == 3
    assert not partial.complete
    assert {row["image_id"] for row in partial.truth().annotations} == {139}


def broken(tmp_path: Path, **parts) -> Path:
    image = {"id": 1, "file_name": "1.jpg", "height": 48, "width": 64}
    document = {
        "images": [image],
        "annotations": [annotation(1, 1, 3, (1, 1, 5, 5))],
        "categories": [{"id": 3, "name": "x"}],
    }
    return write_json(tmp_path / "file.json", {**document, **parts})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"categories": []}, "has 0 categories"),
        ({"annotations": [annotation(7, 2, 3, (1, 1, 5, 5))]}, "annotation 7 is of image 2"),
        ({"annotations": [annotation(7, 1, 4, (1, 1, 5, 5))]}, "annotation 7 is of category 4"),
        ({"annotations": [annotation(7, 1, 3, (1, 1, float("nan"), 5))]}, "annotation 7: bbox must be four finite"),
        ({"annotations": None}, "it needs the lists"),
    ],
)
def test_broken_files(tmp_path: Path, parts: dict, message: str):
    with pytest.raises(LayoutError, match=message):
        read_annotations(broken(tmp_path, **parts))


def test_files_that_are_none(tmp_path: Path):
    with pytest.raises(LayoutError, match="no annotation file"):
        get_benchmark("ov_coco").images(root=tmp_path)
    (tmp_path / "half.json").write_text(json.dumps({"images": []})[:-1], encoding="utf-8")
    with pytest.raises(LayoutError, match="damaged or no JSON"):
        read_annotations(tmp_path / "half.json")
    with pytest.raises(LayoutError, match="lacks 1 of the categories that are asked for, such as cat"):
        read_annotations(broken(tmp_path), names=("x", "cat"))


def test_pictures_of_another_set(tmp_path: Path):
    make_coco(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    document = json.loads(path.read_text())
    document["images"][0]["height"] = 40
    path.write_text(json.dumps(document))
    with pytest.raises(LayoutError, match="these are other pictures"):
        get_benchmark("ov_coco").images(root=tmp_path)[0]
