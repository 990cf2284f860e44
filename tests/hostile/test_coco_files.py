"""COCO files as people write them: a perfect detector scores 100, or one error names file and entry."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovperc.data.benchmarks import get_benchmark
from ovperc.data.detection.detections import ImageDetections
from ovperc.data.detection.sample import DetectionTruth
from ovperc.data.detection.voc import read_voc
from ovperc.data.layout import LayoutError
from ovperc.evaluation.metrics.detection import evaluate_coco
from ovperc.evaluation.metrics.detection_lvis import evaluate_lvis
from ovperc.evaluation.metrics.detection_voc import evaluate_voc
from ovperc.io.coco import decode_rle, encode_rle

HEIGHT, WIDTH = 96, 128
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[:32, :32] = True
RNG = np.random.default_rng(0)
PICTURES = {name: RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for name in ("im 1.png", "im 2.png")}
BOXES = np.array([[0, 0, 32, 32], [64, 0, 128, 96]], float)
ROWS = [(1, 3, [0, 0, 32, 32]), (1, 7, [64, 0, 64, 96]), (2, 3, [0, 0, 32, 32]), (2, 7, [64, 0, 64, 96])]
BASE: dict[str, Any] = {
    "images": [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in enumerate(PICTURES, 1)
    ],
    "categories": [{"id": 3, "name": "blue box"}, {"id": 7, "name": "green wall"}],
    "annotations": [
        {"id": place, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for place, (image, category, box) in enumerate(ROWS, 1)
    ],
}


def each(part: str, **values: Any) -> Callable[[dict], None]:
    """Replaces fields of all entries; a function gets the old value, and None removes the field."""

    def change(document: dict) -> None:
        for row in document[part]:
            for field, value in values.items():
                if value is None:
                    row.pop(field)
                else:
                    row[field] = value(row.get(field)) if callable(value) else value

    return change


def both(*changes: Callable[[dict], None]) -> Callable[[dict], None]:
    def change(document: dict) -> None:
        for one in changes:
            one(document)

    return change


def first(part: str, **values: Any) -> Callable[[dict], None]:
    return lambda document: document[part][0].update(values)


def polygons(shape: Callable[[list[float]], Any]) -> Callable[[dict], None]:
    """Segmentations that outline the boxes, in some form, in place of the boxes."""

    def change(document: dict) -> None:
        for row in document["annotations"]:
            x, y, w, h = row.pop("bbox")
            row["segmentation"] = shape([x, y, x + w, y, x + w, y + h, x, y + h])

    return change


def as_rle(document: dict) -> None:
    for row in document["annotations"]:
        x, y, w, h = row.pop("bbox")
        row.pop("area")
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[y : y + h, x : x + w] = True
        row["segmentation"] = encode_rle(mask)


FINE: dict[str, Callable[[dict], None]] = {
    "as published": lambda document: None,
    "no area": each("annotations", area=None),
    "no iscrowd": each("annotations", iscrowd=None),
    "no ids": each("annotations", id=None),
    "ids from 0": each("annotations", id=lambda value: value - 1),
    "one id for all": each("annotations", id=1),
    "categories from 0": both(
        each("categories", id=lambda value: value - 3), each("annotations", category_id=lambda value: value - 3)
    ),
    "text image ids": both(each("images", id="img_{}".format), each("annotations", image_id="img_{}".format)),
    "padded image ids": both(each("images", id="00{}".format), each("annotations", image_id="00{}".format)),
    "text references": each("annotations", image_id=str, category_id=str),
    "float references": each("annotations", image_id=float, category_id=float),
    "text category ids": both(each("categories", id=str), each("annotations", category_id=str)),
    "no sizes": each("images", width=None, height=None),
    "text boxes": each("annotations", bbox=lambda box: [str(value) for value in box]),
    "polygons, no boxes": polygons(lambda flat: [flat]),
    "one flat polygon": polygons(lambda flat: flat),
    "points": polygons(lambda flat: [[flat[at : at + 2] for at in range(0, 8, 2)]]),
    "flat points": polygons(lambda flat: [flat[at : at + 2] for at in range(0, 8, 2)]),
    "null boxes": both(polygons(lambda flat: [flat]), each("annotations", bbox=lambda box: None)),
    "run lengths, no boxes": as_rle,
    "empty segmentations": each("annotations", segmentation=[]),
    "empty polygons": each("annotations", segmentation=[[]]),
    "run length": each("annotations", segmentation=lambda _: encode_rle(MASK)),
    "counts": each("annotations", segmentation=lambda _: {"size": [96, 128], "counts": [0, *[32, 64] * 31, 32, 9280]}),
    "windows folders": each("images", file_name=r"images\{}".format),
    "other folders": each("images", file_name="./images/{}".format),
    "no objects": lambda document: document["images"].append(
        {"id": 9, "file_name": "im 1.png", "width": 128, "height": 96}
    ),
}
WRONG: dict[str, tuple[Callable[[dict], None], str]] = {
    "no image id": (each("images", id=None), r"image number 1 needs an id"),
    "an image twice": (first("images", id=2), r"image 2 is listed twice"),
    "a category twice": (first("categories", id=7), r"category 7 is listed twice"),
    "no name": (each("categories", name=None), r"category 3 needs a name; got null"),
    "one name": (each("categories", name="Box"), r"two categories are called 'box'"),
    "unknown image": (first("annotations", image_id=55), r"annotation 1 is of image 55, which is not listed"),
    "unknown category": (
        first("annotations", category_id="x"),
        r'annotation 1 is of category "x", which is not listed',
    ),
    "no reference": (each("annotations", image_id=None), r"annotation 1 needs image_id"),
    "no box": (each("annotations", bbox=None), r"annotation 1 has neither a box nor a segmentation"),
    "empty box": (each("annotations", bbox=[]), r"annotation 1 has neither"),
    "short box": (
        first("annotations", bbox=[1, 2, 3]),
        r"annotation 1: bbox must be four finite numbers.* \[1, 2, 3\]",
    ),
    "no number": (first("annotations", bbox=[1, 2, 3, "x"]), r"annotation 1: bbox"),
    "infinite": (first("annotations", bbox=[1, 2, 3, float("inf")]), r"annotation 1: bbox"),
    "huge": (first("annotations", bbox=[1, 2, 3, 10**400]), r"annotation 1: bbox"),
    "area": (first("annotations", area="x"), r"annotation 1: area"),
    "crowd": (first("annotations", iscrowd=[]), r"annotation 1: iscrowd must be 0 or 1; got \[\]"),
    "two points": (first("annotations", segmentation=[[0, 0, 32, 32]]), r"annotation 1: a polygon .* got 4"),
    "odd": (first("annotations", segmentation=[[0, 0, 32, 0, 32, 32, 0]]), r"annotation 1: a polygon .* got 7"),
    "deep": (first("annotations", segmentation=[[[[0]]]]), r"annotation 1: a polygon"),
    "text mask": (first("annotations", segmentation="x"), r"annotation 1: segmentation must be"),
    "other size": (
        first("annotations", segmentation={"size": [128, 96], "counts": [12288]}),
        r"annotation 1: a run-length .*\[96, 128\]; got the size \[128, 96\]",
    ),
    "damaged counts": (
        first("annotations", segmentation={"size": [96, 128], "counts": "zz"}),
        r"annotation 1: a mask cannot be decoded",
    ),
    "short counts": (
        first("annotations", segmentation={"size": [96, 128], "counts": [0, 32, 64]}),
        r"annotation 1: a mask cannot be decoded \(its runs do not cover 96 x 128 px",
    ),
    "size": (first("images", height=-4), r"image 1: height must be"),
    "no file": (first("images", file_name=None), r"image 1: file_name must be a file name"),
    "absolute": (first("images", file_name="/etc/hostname"), r"image 1: file_name must stay inside"),
    "drive": (first("images", file_name=r"C:\data\im 1.png"), r"image 1: file_name must stay inside"),
    "outside": (first("images", file_name="a/../../b.png"), r"image 1: file_name must stay inside"),
    "outside, windows": (first("images", file_name=r"..\b.png"), r"image 1: file_name must stay inside"),
    "no categories": (lambda document: document.pop("categories"), r"needs the lists"),
    "rows": (lambda document: document["images"].append(5), r"entry 2 of images must be an object; got 5"),
    "missing picture": (first("images", file_name="gone.png"), r"1 of 2 pictures are missing: .*gone\.png"),
}


def write_set(root: Path, change: Callable[[dict], None] = FINE["as published"], before: bytes = b"") -> Path:
    document = copy.deepcopy(BASE)
    change(document)
    (root / "images").mkdir()
    for name, picture in PICTURES.items():
        Image.fromarray(picture).save(root / "images" / name)
    (root / "labels.json").write_bytes(before + json.dumps(document).encode())
    return root


def assert_perfect(root: Path) -> None:
    images = get_benchmark("coco_file").images(root=root)
    assert images.classes == ("blue box", "green wall")
    samples = [images[index] for index in range(len(images))]
    assert [sample.labels.tolist() for sample in samples[:2]] == [[0, 1], [0, 1]]
    found = [ImageDetections(sample.image_id, BOXES, np.array([0.9, 0.8]), np.array([0, 1])) for sample in samples[:2]]
    scores = evaluate_coco(images.truth(), found).scores()
    assert scores["AP"] == pytest.approx(100), scores


@pytest.mark.parametrize("name", FINE)
def test_a_perfect_detector_scores_100(tmp_path, name):
    assert_perfect(write_set(tmp_path, FINE[name]))


def test_a_byte_order_mark_is_skipped(tmp_path):
    assert_perfect(write_set(tmp_path, before=b"\xef\xbb\xbf"))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_entries_are_named_before_the_first_picture(tmp_path, name):
    change, message = WRONG[name]
    with pytest.raises(LayoutError, match=rf"labels\.json.*{message}|{message}") as told:
        get_benchmark("coco_file").images(root=write_set(tmp_path, change))
    assert name == "missing picture" or "labels.json" in str(told.value)
    assert len(str(told.value)) < 600


@pytest.mark.parametrize("content", [b"[]", b"", b"\xff\xfe", b"[" * 100_000, b'{"images": 1', b"1" * 5000])
def test_what_is_no_annotation_file(tmp_path, content):
    (tmp_path / "labels.json").write_bytes(content)
    with pytest.raises(LayoutError, match=r"labels\.json is (damaged|no annotation file)"):
        get_benchmark("coco_file").images(root=tmp_path)


def test_which_annotation_file_is_asked(tmp_path):
    write_set(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(LayoutError, match=r"data\.annotations=FILE\.json; found labels\.json, other\.json"):
        get_benchmark("coco_file").images(root=tmp_path)
    assert len(get_benchmark("coco_file").images(root=tmp_path, annotations="labels.json", images="images")) == 2


@pytest.mark.parametrize("orientation", [3, 6])
def test_boxes_are_those_of_the_upright_picture(tmp_path, orientation):
    write_set(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, picture in PICTURES.items():
        stored = picture[::-1, ::-1] if orientation == 3 else np.rot90(picture, 1)
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "images" / name, exif=exif)
    assert_perfect(tmp_path)
    images = get_benchmark("coco_file").images(root=tmp_path)
    assert np.array_equal(images[0].image, PICTURES["im 1.png"])


@pytest.mark.parametrize("start", [0, 1])
def test_annotation_ids_do_not_change_scores(start):
    image = {"id": 1, "height": 50, "width": 50, "neg_category_ids": [], "not_exhaustive_category_ids": []}
    rows = tuple(
        {"id": start + at, "image_id": 1, "category_id": 1, "bbox": [10 * at, 0, 8, 8], "area": 64, "iscrowd": 0}
        for at in range(2)
    )
    truth = DetectionTruth((image,), rows, (1,), ("nut",))
    boxes = np.array([[0, 0, 8, 8], [10, 0, 18, 8]], float)
    found = [ImageDetections(1, boxes, np.array([0.9, 0.8]), np.array([0, 0]))]
    assert evaluate_coco(truth, found).ap50[0] == pytest.approx(1)
    assert evaluate_voc(truth, found).ap50[0] == pytest.approx(1)
    assert evaluate_lvis(truth, found, "bbox", 300).classes.ap50[0] == pytest.approx(1)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../b"])
def test_listed_names_stay_inside_a_voc_folder(tmp_path, name):
    listing = tmp_path / "ImageSets" / "Main" / "test.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text(name)
    with pytest.raises(LayoutError, match=r"test\.txt.* must stay inside"):
        read_voc(tmp_path)


@pytest.mark.parametrize("counts", ["", "zz", "000", "1", "a b", "OOO1", "\u20ac", "o" * 50])
def test_run_lengths_that_do_not_cover_a_mask_are_damaged(counts):
    with pytest.raises(ValueError, match="a mask cannot be decoded"):
        decode_rle({"size": [HEIGHT, WIDTH], "counts": counts})


def test_run_lengths_survive_a_round_trip():
    chance = np.random.default_rng(0)
    for share in (0, 0.01, 0.3, 0.5, 0.99, 1):
        for _ in range(20):
            mask = chance.random(chance.integers(1, 60, 2)) < share
            assert np.array_equal(decode_rle(encode_rle(mask)), mask)
