"""Tiny detection data sets in the true layouts: file names, ids with gaps, polygons, crowds, federated lists, XML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovperc.data.detection.splits import OV_COCO_BASE, OV_COCO_NOVEL, OV_COCO_UNUSED
from ovperc.io.coco import encode_rle

SIZE_HW = (48, 64)
# fmt: off
BASE_IDS = (1, 2, 3, 4, 7, 8, 9, 15, 16, 19, 20, 23, 24, 25, 27, 31, 33, 34, 35, 38, 42, 44, 48, 50, 51, 52, 53, 54,
            55, 56, 57, 59, 60, 62, 65, 70, 72, 73, 74, 75, 78, 79, 80, 82, 84, 85, 86, 90)
NOVEL_IDS = (5, 6, 17, 18, 21, 22, 28, 32, 36, 41, 47, 49, 61, 63, 76, 81, 87)
UNUSED_IDS = (10, 11, 13, 14, 37, 39, 40, 43, 46, 58, 64, 67, 77, 88, 89)
# fmt: on


def coco_categories(ids: tuple[int, ...] | None = None) -> list[dict[str, Any]]:
    """COCO's 80 categories with their official ids, or some of them, in an order that is not that of the ids."""
    pairs = {
        **dict(zip(BASE_IDS, OV_COCO_BASE, strict=True)),
        **dict(zip(NOVEL_IDS, OV_COCO_NOVEL, strict=True)),
        **dict(zip(UNUSED_IDS, OV_COCO_UNUSED, strict=True)),
    }
    rows = [{"id": number, "name": name, "supercategory": "x"} for number, name in pairs.items()]
    return [row for row in rows if ids is None or row["id"] in ids]


def picture(path: Path, seed: int = 0) -> None:
    """Writes a photograph of `SIZE_HW`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def annotation(number: int, image: int, category: int, box: tuple[float, ...], **more: Any) -> dict[str, Any]:
    """A box with its polygon."""
    x, y, w, h = box
    polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    row = {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "area": w * h, "iscrowd": 0}
    return {**row, "segmentation": polygon, **more}


def write_json(path: Path, document: dict[str, Any]) -> Path:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def make_coco(root: Path, split: str = "val", categories: list[dict[str, Any]] | None = None) -> Path:
    """COCO 2017: a base, a novel and an unused object, a crowd, a degenerate box, a picture without annotations."""
    images = [
        {"id": number, "file_name": f"{number:012d}.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1]}
        for number in (139, 285, 632, 724)
    ]
    for row in images:
        picture(root / f"{split}2017" / row["file_name"], row["id"])
    crowd = {"size": list(SIZE_HW), "counts": _uncompressed(SIZE_HW)}
    rows = [
        annotation(11, 139, 1, (2, 3, 20, 30)),
        annotation(12, 139, 17, (30, 5, 40, 20)),  # a cat that reaches beyond the picture
        annotation(900100000013, 285, 1, (0, 0, 64, 24), iscrowd=1, segmentation=crowd),
        annotation(14, 285, 3, (5, 5, 0, 10)),
        annotation(15, 632, 10, (1, 1, 5, 5)),  # traffic light
    ]
    categories = categories or coco_categories()
    known = {row["id"] for row in categories}
    document = {"images": images, "categories": categories}
    document["annotations"] = [row for row in rows if row["category_id"] in known]
    return write_json(root / "annotations" / f"instances_{split}2017.json", document)


def _uncompressed(size_hw: tuple[int, int]) -> list[int]:
    """The upper half of a picture, column by column."""
    half = size_hw[0] // 2
    return [0, *[half] * (2 * size_hw[1])]


def make_lvis(root: Path, split: str = "val") -> Path:
    """LVIS v1: three categories of three frequencies, pictures in both of COCO's folders, named by URL alone."""
    images = []
    for number, folder in ((9, "train2017"), (397133, "val2017")):
        images.append(
            {
                "id": number,
                "height": SIZE_HW[0],
                "width": SIZE_HW[1],
                "coco_url": f"http://images.cocodataset.org/{folder}/{number:012d}.jpg",
                "neg_category_ids": [2],
                "not_exhaustive_category_ids": [3],
            }
        )
        picture(root / folder / f"{number:012d}.jpg", number)
    names = (("alarm_clock", "f"), ("bow_(weapon)", "c"), ("crouton", "r"))
    categories = [
        {"id": number, "name": name, "synset": f"{name}.n.01", "synonyms": [name], "frequency": frequency}
        for number, (name, frequency) in enumerate(names, start=1)
    ]
    rows = [annotation(1, 9, 1, (1, 2, 30, 30)), annotation(2, 9, 3, (40, 4, 12, 12))]
    rows.append(annotation(3, 397133, 3, (10, 10, 20, 20)))
    for row in rows:
        row.pop("iscrowd")
    return write_json(root / f"lvis_v1_{split}.json", {"images": images, "annotations": rows, "categories": categories})


def make_objects365(root: Path) -> Path:
    """Objects365 v1: names with capitals and stray blanks, no polygons."""
    name = "obj365_val_000000420917.jpg"
    picture(root / "val" / name)
    rows = [annotation(1, 420917, 1, (3.5, 4.25, 20.5, 10.0), segmentation=[])]
    categories = [{"id": 2, "name": "Cabinet/shelf"}, {"id": 1, "name": "tissue "}]
    image = {"id": 420917, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]}
    return write_json(
        root / "annotations" / "objects365_val.json",
        {"images": [image], "annotations": rows, "categories": categories},
    )


VOC_XML = """<annotation>
  <folder>VOC2007</folder><filename>{name}.jpg</filename>
  <size><width>64</width><height>48</height><depth>3</depth></size>
  <object><name>dog</name><difficult>0</difficult>
    <bndbox><xmin>1</xmin><ymin>5</ymin><xmax>20</xmax><ymax>48</ymax></bndbox></object>
  <object><name>tvmonitor</name><difficult>1</difficult>
    <bndbox><xmin>30</xmin><ymin>1</ymin><xmax>64</xmax><ymax>20</ymax></bndbox></object>
</annotation>
"""


def make_voc(root: Path, names: tuple[str, ...] = ("000001", "000002")) -> Path:
    """VOC 2007 test."""
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "test.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    (root / "Annotations").mkdir()
    for name in names:
        (root / "Annotations" / f"{name}.xml").write_text(VOC_XML.format(name=name), encoding="utf-8")
        picture(root / "JPEGImages" / f"{name}.jpg")
    return root


def make_panoptic(root: Path) -> Path:
    """COCO panoptic: a person (thing), sky (stuff) and a crowd, in one PNG of coded ids."""
    height, width = SIZE_HW
    ids = np.zeros(SIZE_HW, np.int64)
    ids[:20] = 7000
    ids[24:44, 10:30] = 66051
    ids[24:44, 40:60] = 5
    code = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    folder = root / "annotations" / "panoptic_val2017"
    folder.mkdir(parents=True)
    Image.fromarray(code).save(folder / "000000000139.png")
    picture(root / "val2017" / "000000000139.jpg")
    segments = [
        {"id": 7000, "category_id": 187, "iscrowd": 0, "bbox": [0, 0, 64, 20], "area": 1280},
        {"id": 66051, "category_id": 1, "iscrowd": 0, "bbox": [10, 24, 20, 20], "area": 400},
        {"id": 5, "category_id": 1, "iscrowd": 1, "bbox": [40, 24, 20, 20], "area": 400},
    ]
    document = {
        "images": [{"id": 139, "file_name": "000000000139.jpg", "height": height, "width": width}],
        "annotations": [{"image_id": 139, "file_name": "000000000139.png", "segments_info": segments}],
        "categories": [
            {"id": 187, "name": "sky-other-merged", "isthing": 0, "supercategory": "sky"},
            {"id": 1, "name": "person", "isthing": 1, "supercategory": "person"},
        ],
    }
    return write_json(root / "annotations" / "panoptic_val2017.json", document)


def half_mask() -> dict[str, Any]:
    """Run-length code of the upper half."""
    mask = np.zeros(SIZE_HW, bool)
    mask[: SIZE_HW[0] // 2] = True
    return encode_rle(mask)
