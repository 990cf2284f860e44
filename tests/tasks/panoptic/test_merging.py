"""The rule that merges instances and stuff, and the naming of masks."""

from __future__ import annotations

import numpy as np
import pytest

from ovperc.io.coco import encode_rle
from ovperc.tasks.panoptic.instances import Instance, name_instances
from ovperc.tasks.panoptic.merging import MergeRule

SIZE_HW = (10, 20)
IS_STUFF = np.array([False, False, True, True])


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[top:bottom, left:right] = True
    return mask


def instance(mask: np.ndarray, label: int, score: float) -> Instance:
    return Instance(encode_rle(mask), label, score)


def merge(rule: MergeRule, instances: list[Instance], labels: np.ndarray) -> tuple[list[list[int]], list[tuple]]:
    found = rule.merge(instances, labels, np.full(SIZE_HW, 0.25, np.float32), IS_STUFF)
    return found.ids.tolist(), [(segment.label, segment.score) for segment in found.segments]


def test_better_instances_are_placed_first_and_stuff_fills_the_rest() -> None:
    labels = np.full(SIZE_HW, 2)
    labels[:, 15:] = 0  # a thing class without an instance is void
    low, high = instance(box(0, 0, 10, 8), 0, 0.6), instance(box(0, 5, 10, 10), 1, 0.9)
    ids, segments = merge(MergeRule(), [low, high], labels)
    assert segments == [(1, 0.9), (0, 0.6), (2, 0.25)]
    assert ids == [[2] * 5 + [1] * 5 + [3] * 5 + [0] * 5] * 10


def test_covered_and_unsure_instances_are_dropped() -> None:
    labels = np.full(SIZE_HW, 2)
    front, behind = instance(box(0, 0, 10, 10), 0, 0.9), instance(box(0, 4, 10, 14), 1, 0.8)
    unsure = instance(box(0, 16, 10, 20), 1, 0.2)
    assert merge(MergeRule(max_overlap=0.5), [front, behind, unsure], labels)[1] == [(0, 0.9), (2, 0.25)]
    kept = merge(MergeRule(min_score=0.2, max_overlap=0.6), [front, behind, unsure], labels)[1]
    assert kept == [(0, 0.9), (1, 0.8), (1, 0.2), (2, 0.25)]


def test_an_instance_without_a_free_pixel_is_dropped_whatever_the_overlap() -> None:
    twice = [instance(box(0, 0, 10, 10), label, 0.9) for label in (0, 1)]
    assert merge(MergeRule(max_overlap=1.0), twice, np.full(SIZE_HW, 2))[1] == [(0, 0.9), (2, 0.25)]


def test_small_stuff_is_void() -> None:
    labels = np.full(SIZE_HW, 2)
    labels[0, :3] = 3
    ids, segments = merge(MergeRule(min_stuff_area=0.02), [], labels)
    assert segments == [(2, 0.25)] and ids[0][:4] == [0, 0, 0, 1]
    assert len(merge(MergeRule(min_stuff_area=0.015), [], labels)[1]) == 2


def test_masks_are_named_by_their_most_probable_class() -> None:
    masks = [encode_rle(box(0, 0, 2, side)) for side in (2, 3, 4, 5)]
    chances = np.array([[0.7, 0.1, 0.2], [0.1, 0.2, 0.7], [0.3, 0.6, 0.1], [0.4, 0.3, 0.3]])
    found = name_instances(masks, np.array([0.5, 1, 1, 1]), chances, np.array([True, True, False]), threshold=0.5)
    assert [(entry.rle, entry.label, entry.score) for entry in found] == [(masks[0], 0, 0.35), (masks[2], 1, 0.6)]
    assert found[0].mask().sum() == 4
    assert name_instances([], np.zeros(0), np.zeros((0, 3)), np.array([True, True, False])) == ()


@pytest.mark.parametrize("name", ["min_score", "max_overlap", "min_stuff_area"])
def test_shares_outside_their_range(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\]; got 1.5"):
        MergeRule(**{name: 1.5})
