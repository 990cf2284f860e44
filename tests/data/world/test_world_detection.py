"""Boxes and masks of the world: they fit the pixels, splits keep novel pairs apart, sets repeat."""

from __future__ import annotations

import numpy as np
import pytest

from ovperc.data.detection.sample import DetectionSample
from ovperc.data.world.detection import WorldDetection
from ovperc.data.world.holdout import HOLD_OUT


@pytest.mark.parametrize("vocabulary", ["pattern_colour", "colour_shape"])
def test_boxes_bound_masks_and_names_say_what_is_there(vocabulary: str):
    data = WorldDetection("test", num_scenes=12, vocabulary=vocabulary)
    for index in range(len(data)):
        sample, scene = data[index], data.scene(index)
        masks = sample.dense_masks()
        seen = [item for item in scene.objects if item.area_px]
        assert len(seen) == len(masks) == len(sample.labels)
        for box, mask, label, item in zip(sample.boxes, masks, sample.labels, seen, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            words = set(data.classes[label].split()) - {"object"}
            assert words <= set(str(item.attributes).split())


def test_training_and_validation_know_base_pairs_only():
    test = WorldDetection("test", num_scenes=1)
    assert len(test.groups["novel"]) == len(HOLD_OUT.pattern_colour)
    novel = {test.classes[label] for label in test.groups["novel"]}
    for split in ("train", "val"):
        data = WorldDetection(split, num_scenes=40)
        assert set(data.groups) == {"base"}
        assert not novel & set(data.classes)
        for index in range(len(data)):
            looks = [item.attributes for item in data.scene(index).objects]
            assert not any(HOLD_OUT.novel_pattern_colour(look) or HOLD_OUT.novel_colour_shape(look) for look in looks)


def test_half_of_the_test_objects_are_novel():
    data = WorldDetection("test", num_scenes=150)
    labels = np.concatenate([data[index].labels for index in range(len(data))])
    assert 0.4 < np.isin(labels, data.groups["novel"]).mean() < 0.6


def test_sets_repeat_and_splits_differ():
    first, again = WorldDetection("val", 3)[2], WorldDetection("val", 5)[2]
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.image, WorldDetection("train", 3)[2].image)


def test_truth_holds_the_same_as_the_samples():
    data = WorldDetection("test", num_scenes=4)
    truth = data.truth([1, 3])
    assert [row["id"] for row in truth.images] == [2, 4]
    boxes = [box for index in (1, 3) for box in data[index].boxes.tolist()]
    assert [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in truth.annotations)] == boxes
    assert all(row["area"] > 0 for row in truth.annotations)


def test_unknown_names_and_bad_samples():
    with pytest.raises(ValueError, match=r"unknown split 'tset'.*test"):
        WorldDetection("tset")
    with pytest.raises(ValueError, match="unknown vocabulary"):
        WorldDetection("test", vocabulary="shapes")
    with pytest.raises(IndexError, match="scene 3 of a set of 3"):
        WorldDetection("test", 3)[3]
    empty = np.zeros((0, 4), np.float32)
    with pytest.raises(ValueError, match="sample of 1 labels"):
        DetectionSample(np.zeros((4, 4, 3), np.uint8), empty, np.zeros(1, np.int64), (), np.zeros(1, bool), 1, "x")
