"""Panoptic maps hold together."""

from __future__ import annotations

import numpy as np
import pytest

from ovperc.core.panoptic import PanopticMap, Segment

IDS = np.array([[0, 7, 7], [3, 3, 7]])
SEGMENTS = (Segment(7, 2), Segment(3, 0, 0.5))


def test_masks_areas_and_classes() -> None:
    found = PanopticMap(IDS, SEGMENTS)
    assert found.size_hw == (2, 3) and found.ids.dtype == np.int32
    assert found.areas() == {3: 2, 7: 3}
    assert np.array_equal(found.mask(SEGMENTS[1]), IDS == 3)
    assert found.label_map(void=255).tolist() == [[255, 2, 2], [0, 0, 2]]
    assert PanopticMap(np.zeros((2, 2), np.uint8), ()).label_map(void=-1).tolist() == [[-1, -1], [-1, -1]]


@pytest.mark.parametrize(
    ("ids", "segments", "message"),
    [
        (IDS.astype(float), SEGMENTS, "integers of shape"),
        (np.zeros((0, 4), int), (), "not empty"),
        (IDS, SEGMENTS[:1], r"pixels without a segment: \[3\]"),
        (IDS, (*SEGMENTS, Segment(9, 0)), r"segments without pixels: \[9\]"),
        (IDS, (*SEGMENTS, Segment(0, 0)), "which is void"),
        (IDS, (*SEGMENTS, Segment(3, 1)), "must differ"),
    ],
)
def test_ids_and_segments_that_do_not_fit(ids: np.ndarray, segments: tuple[Segment, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PanopticMap(ids, segments)
