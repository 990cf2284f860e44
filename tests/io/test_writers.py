"""Output formats, read back by readers that are not ours."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from ovperc.io.annotations import Annotation, ImageAnnotations, mask_annotation
from ovperc.io.writers.base import OutputSettings, Writer
from ovperc.io.writers.table import FORMATS, choose_writers

SIZE_HW = (40, 60)
NAMES = ("red star", "étoile, grande", "absent")
SETTINGS = OutputSettings((".json",), "overlay")


def disc(x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


MASKS = (disc(12, 14, 8), disc(40, 20, 11) | disc(12, 32, 5))


@dataclass(frozen=True)
class Answer:
    """Stands for a prediction."""

    objects: tuple[Annotation, ...]
    source: str

    def annotations(self) -> ImageAnnotations:
        return ImageAnnotations(NAMES, SIZE_HW, self.source, self.objects)


def answers() -> list[Answer]:
    masked = tuple(mask_annotation(label, 0.9 - label / 10, mask) for label, mask in enumerate(MASKS))
    box = Annotation(1, 0.25, (10.5, 2.0, 30.0, 22.0), None, 390.0)
    return [Answer(masked, "a.jpg"), Answer((), "empty.jpg"), Answer((box,), "b.jpg")]


def write(writer: Writer, folder: Path) -> None:
    for answer in answers():
        stem = Path(answer.source).stem
        writer.write(folder, stem, answer, lambda: Image.new("RGB", (4, 4)))
        writer.record(answer.source, answer)
    writer.finish(folder)


def test_one_coco_document_holds_the_run(tmp_path: Path) -> None:
    write(choose_writers("coco", "detection", SETTINGS)["coco"], tmp_path)
    coco = COCO(str(tmp_path / "coco.json"))
    assert [image["file_name"] for image in coco.imgs.values()] == ["a.jpg", "empty.jpg", "b.jpg"]
    assert [category["name"] for category in coco.cats.values()] == list(NAMES)
    assert sorted(coco.anns) == [1, 2, 3] and len(coco.getAnnIds(imgIds=[2])) == 0
    for number, mask in enumerate(MASKS):
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[1], catIds=[number]))
        assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
        left, top, width, height = map(int, annotation["bbox"])
        assert mask[top : top + height, left : left + width].sum() == mask.sum() == annotation["area"]
    (box,) = coco.loadAnns(coco.getAnnIds(imgIds=[3]))
    assert box["bbox"] == [10.5, 2.0, 19.5, 20.0] and box["score"] == 0.25 and "segmentation" not in box


def test_a_coco_run_without_images_is_a_document(tmp_path: Path) -> None:
    choose_writers("coco", "segmentation", SETTINGS)["coco"].finish(tmp_path)
    assert COCO(str(tmp_path / "coco.json")).anns == {}


def test_yolo_boxes(tmp_path: Path) -> None:
    write(choose_writers("yolo", "detection", SETTINGS)["yolo"], tmp_path)
    assert yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8"))["names"] == dict(enumerate(NAMES))
    assert (tmp_path / "labels" / "empty.txt").read_text() == ""
    (row,) = np.loadtxt(tmp_path / "labels" / "b.txt", ndmin=2)
    label, centre_x, centre_y, width, height = row
    assert label == 1
    assert np.allclose([centre_x * 60, centre_y * 40, width * 60, height * 40], [20.25, 12, 19.5, 20], atol=1e-4)


def test_yolo_outlines_fill_to_the_masks(tmp_path: Path) -> None:
    write(choose_writers("yolo-seg", "segmentation", SETTINGS)["yolo-seg"], tmp_path)
    drawn = np.zeros((2, *SIZE_HW), np.uint8)
    for line in (tmp_path / "labels" / "a.txt").read_text().splitlines():
        label, *shares = line.split()
        points = np.array(shares, float).reshape(-1, 2) * (SIZE_HW[1], SIZE_HW[0])
        cv2.fillPoly(drawn[int(label)], [np.rint(points).astype(np.int32)], 1)
    assert np.array_equal(drawn.astype(bool), np.stack(MASKS))
    (row,) = np.loadtxt(tmp_path / "labels" / "b.txt", ndmin=2)
    corners = row[1:].reshape(-1, 2) * (60, 40)
    assert np.allclose([*corners.min(axis=0), *corners.max(axis=0)], [10.5, 2, 30, 22], atol=1e-4)


def test_labelme_outlines_fill_to_the_masks(tmp_path: Path) -> None:
    write(choose_writers("labelme", "segmentation", SETTINGS)["labelme"], tmp_path)
    document = json.loads((tmp_path / "a_labelme.json").read_text(encoding="utf-8"))
    assert (document["imageHeight"], document["imageWidth"], document["imageData"]) == (*SIZE_HW, None)
    drawn = {name: np.zeros(SIZE_HW, np.uint8) for name in NAMES}
    for shape in document["shapes"]:
        assert shape["shape_type"] == "polygon"
        cv2.fillPoly(drawn[shape["label"]], [np.rint(shape["points"]).astype(np.int32)], 1)
    for name, mask in zip(NAMES, MASKS, strict=False):
        assert np.array_equal(drawn[name].astype(bool), mask)
    assert [shape["group_id"] for shape in document["shapes"]] == [0, 1, 1]
    (rectangle,) = json.loads((tmp_path / "b_labelme.json").read_text(encoding="utf-8"))["shapes"]
    assert rectangle["shape_type"] == "rectangle" and rectangle["points"] == [[10.5, 2.0], [30.0, 22.0]]


def test_scores_name_what_failed(tmp_path: Path) -> None:
    writer = choose_writers(None, "anomaly", SETTINGS)["scores"]
    writer.record_failure("caf\udce9.png", ValueError("not an image"))
    writer.finish(tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == "caf\\udce9.png" and row["error"] == "not an image" and row["score"] == ""


def test_defaults_and_refusals() -> None:
    assert list(choose_writers(None, "detection", SETTINGS)) == ["native", "picture"]
    assert list(choose_writers(None, "anomaly", SETTINGS)) == ["native", "picture", "scores"]
    assert list(choose_writers("coco, yolo,coco", "segmentation", SETTINGS)) == ["coco", "yolo"]
    with pytest.raises(ValueError, match="did you mean 'labelme'"):
        choose_writers("labelm", "detection", SETTINGS)
    with pytest.raises(ValueError, match="segmentation methods do not support format 'npy'; they support native"):
        choose_writers("npy", "segmentation", SETTINGS)


def test_what_a_writer_makes_is_what_it_announced(tmp_path: Path) -> None:
    for name in ("picture", "coco", "labelme", "yolo", "yolo-seg"):
        writer = FORMATS[name].writer(SETTINGS)
        write(writer, tmp_path / name) if (tmp_path / name).mkdir() is None else None
        announced = {file for answer in answers() for file in writer.image_files(Path(answer.source).stem)}
        found = {str(file.relative_to(tmp_path / name)) for file in (tmp_path / name).rglob("*") if file.is_file()}
        assert found == announced | set(writer.run_files)
