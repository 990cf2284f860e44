"""Run-length codes, and COCO documents as pycocotools reads them."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from ovperc.io.annotations import annotate_labels
from ovperc.io.coco import decode_rle, encode_rle
from ovperc.io.writers.coco import coco_document

RNG = np.random.default_rng(0)
LABELS = np.kron(RNG.integers(0, 4, (5, 6)), np.ones((3, 2), dtype=int))
CONFIDENCE = RNG.random(LABELS.shape)
NAMES = ("background", "star", "grass", "sand", "absent")


@pytest.mark.parametrize("mask", [LABELS == 1, np.zeros((3, 4), bool), np.ones((3, 4), bool), LABELS[:1] > 0])
def test_run_lengths_survive_json(mask):
    code = json.loads(json.dumps(encode_rle(mask)))
    assert code["size"] == list(mask.shape)
    assert np.array_equal(decode_rle(code), mask)


def test_document_is_read_by_pycocotools(tmp_path):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco_document(annotate_labels(LABELS, CONFIDENCE, NAMES, "a.jpg", skip=(0,)))))
    coco = COCO(str(path))
    assert coco.imgs[1] == {"id": 1, "file_name": "a.jpg", "width": 12, "height": 15}
    assert {category["name"]: label for label, category in coco.cats.items()} == {
        name: label for label, name in enumerate(NAMES)
    }
    assert [annotation["category_id"] for annotation in coco.anns.values()] == [1, 2, 3]
    assert list(coco.anns) == [1, 2, 3]
    for annotation in coco.anns.values():
        mask = annotation["category_id"] == LABELS
        rows, columns = np.nonzero(mask)
        assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
        assert annotation["area"] == mask.sum()
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == box
        assert annotation["score"] == pytest.approx(CONFIDENCE[mask].mean())
