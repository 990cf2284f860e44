"""Panoptic predictions: checks, figures and annotations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovperc.core.panoptic import Segment
from ovperc.io.coco import decode_rle
from ovperc.tasks.panoptic.prediction import PanopticPrediction

IDS = np.array([[1, 1, 2, 0], [3, 3, 3, 3]])
FOUND = PanopticPrediction(
    IDS, (Segment(1, 0, 0.9), Segment(2, 0, 0.8), Segment(3, 2, 0.7)), ("cat", "dog", "grass"), (0, 1), "a.jpg"
)


def test_counts_areas_and_names() -> None:
    assert FOUND.counts() == {"cat": 2, "dog": 0}
    assert FOUND.areas() == {"cat": 3 / 8, "dog": 0.0, "grass": 0.5}
    assert FOUND.segment_names == ("cat 1", "cat 2", "grass")
    assert FOUND.summary() == "2 cat, grass 50.0%"
    assert "2x4 px, 3 segments" in repr(FOUND)


def test_annotations_hold_every_segment() -> None:
    found = FOUND.annotations()
    assert [(entry.label, entry.score, entry.area_px) for entry in found.objects] == [
        (0, 0.9, 2),
        (0, 0.8, 1),
        (2, 0.7, 4),
    ]
    assert np.array_equal(decode_rle(found.objects[2].mask), IDS == 3)
    assert len(FOUND.to_coco()["annotations"]) == 3


def test_drawing_follows_ids_in_any_order() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    shuffled = dataclasses.replace(FOUND, segments=FOUND.segments[::-1])
    plain = np.asarray(FOUND.draw(image, legend=False, alpha=1.0))
    other = np.asarray(shuffled.draw(image, legend=False, alpha=1.0))
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == len(np.unique(other.reshape(-1, 3), axis=0)) == 4
    with pytest.raises(ValueError, match="the same size"):
        FOUND.draw(np.zeros((3, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"things": ()}, r"a stuff class has at most one segment; \['cat'\] have more"),
        ({"names": ("cat", "cat", "grass")}, "names must differ"),
        ({"names": ("cat", "dog")}, "labels must lie in 0..1"),
        ({"things": (0, 7)}, r"labels must lie in 0..2, the range of names; got \[7\]"),
        ({"segments": FOUND.segments[:2]}, "pixels without a segment"),
    ],
)
def test_fields_that_do_not_fit(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(FOUND, **change)
