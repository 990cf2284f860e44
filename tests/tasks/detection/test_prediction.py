"""Detections as a value: written and read again, given to pycocotools, drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from ovperc.io.coco import encode_rle
from ovperc.tasks.detection.encoded import paste_mask
from ovperc.tasks.detection.prediction import DetPrediction

SIZE = (40, 60)
BOXES = np.array([[5, 6, 25, 30], [30.5, 2, 55, 20], [0, 0, 60, 40]], np.float32)


def masks() -> tuple:
    codes = []
    for x0, y0, x1, y1 in BOXES.astype(int):
        mask = np.zeros(SIZE, bool)
        mask[y0:y1, x0:x1] = True
        codes.append(encode_rle(mask))
    return tuple(codes)


def prediction(with_masks: bool = True) -> DetPrediction:
    return DetPrediction(
        BOXES,
        np.array([0.9, 0.5, 0.01]),
        np.array([1, 0, 1]),
        ("red star", "étoile"),
        SIZE,
        masks() if with_masks else None,
        source="photo.jpg",
        method="fvlm",
        metadata={"weights": "x"},
    )


@pytest.mark.parametrize("with_masks", [True, False])
def test_saved_and_loaded(tmp_path: Path, with_masks: bool) -> None:
    before = prediction(with_masks)
    files = before.save(tmp_path / "deep" / "photo.json", labelme=True)
    assert [file.name for file in files] == ["photo_labelme.json", "photo.json"]
    after = DetPrediction.load(tmp_path / "deep" / "photo")
    assert np.allclose(after.boxes, before.boxes) and np.allclose(after.scores, before.scores)
    assert after.found == before.found and after.size_hw == SIZE and after.metadata == {"weights": "x"}
    assert (after.masks is None) != with_masks
    assert np.array_equal(after.mask(0), before.mask(0))


def test_coco_document_and_results_are_read_by_pycocotools(tmp_path: Path) -> None:
    document = prediction().to_coco()
    (tmp_path / "truth.json").write_text(json.dumps(document))
    coco = COCO(str(tmp_path / "truth.json"))
    assert coco.annToMask(coco.anns[1]).sum() == 20 * 24 == coco.anns[1]["area"]
    found = coco.loadRes(prediction().to_coco_results(1, (0, 1)))
    assert found.anns[1]["bbox"] == [5, 6, 20, 24]
    assert [row["category_id"] for row in prediction().to_coco_results(7, (10, 20))] == [20, 10, 20]
    with pytest.raises(ValueError, match="category id"):
        prediction().to_coco_results(1, (3,))


def test_labelme_shapes() -> None:
    shapes = prediction().to_labelme()["shapes"]
    assert [shape["shape_type"] for shape in shapes] == ["polygon"] * 3
    assert shapes[0]["label"] == "étoile" and shapes[0]["group_id"] == 0
    assert [shape["shape_type"] for shape in prediction(False).to_labelme()["shapes"]] == ["rectangle"] * 3


def test_subsets_and_counts() -> None:
    assert prediction().counts() == {"red star": 1, "étoile": 2}
    best = prediction().above(0.4)
    assert best.found == ("étoile", "red star") and len(best.masks) == 2
    assert len(prediction().above(2.0)) == 0 and prediction().above(2.0).to_coco()["annotations"] == []
    assert "2 objects" in repr(best)


def test_drawing_changes_the_picture_and_refuses_another_size() -> None:
    image = np.full((*SIZE, 3), 128, np.uint8)
    drawn = prediction().draw(image)
    assert min(drawn.size) >= 40 and len(set(drawn.getdata())) > 3
    assert prediction().above(2.0).draw(image).size == drawn.size
    with pytest.raises(ValueError, match="made from"):
        prediction().draw(image[:20])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros(2)}, "equally many"),
        ({"labels": np.array([0, 1, 2])}, r"0\.\.1"),
        ({"boxes": np.full((3, 4), np.nan)}, "finite"),
        ({"size_hw": (41, 60)}, "size of the image"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetPrediction(**{**vars(prediction()), **changes})


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    for name in ("a", "absent"):
        with pytest.raises(ValueError, match=name):
            DetPrediction.load(tmp_path / name)


def test_pasted_masks() -> None:
    """A full mask fills its box, a half mask half of it, parts outside the image are cut off."""
    full = np.ones((28, 28), np.float32)
    pasted = paste_mask(full, np.array([5.0, 6.0, 25.0, 30.0]), SIZE)
    assert pasted[6:30, 5:25].all() and pasted.sum() == 20 * 24
    half = full.copy()
    half[:, 14:] = 0
    pasted = paste_mask(half, np.array([10.0, 4.0, 30.0, 14.0]), SIZE)
    assert pasted[4:14, 10:20].all() and not pasted[:, 20:].any()
    assert paste_mask(full, np.array([-10.0, -10.0, 10.0, 10.0]), SIZE).sum() == 100
    assert not paste_mask(full, np.array([5.0, 5.0, 5.0, 9.0]), SIZE).any()
    assert not paste_mask(full, np.array([70.0, 50.0, 80.0, 60.0]), SIZE).any()
