"""Naming given boxes and masks."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.tiny_exports import tiny_predictor

WORDS = "red star, blue ring|ring, grass"


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 84, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["vit", "convnext", "timm-stem"])
def test_a_box_and_its_mask_are_named_alike(kind: str) -> None:
    predictor = tiny_predictor("maskclip", kind)
    boxes = np.array([[4, 5, 30, 40], [0, 0, 84, 60], [60, 30, 84, 60]])
    masks = np.zeros((3, 60, 84), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    encoded = predictor.encode(image())
    by_box = predictor.classify_regions(encoded, boxes, WORDS)
    by_mask = predictor.classify_regions(image(), masks, WORDS)
    assert by_box.scores.shape == (3, 3) and np.allclose(by_box.scores, by_mask.scores, atol=1e-4)
    assert np.allclose(by_box.scores.sum(axis=1), 1, atol=1e-5)
    assert by_box.found == tuple(by_box.names[label] for label in by_box.scores.argmax(axis=1))


def test_regions_do_not_depend_on_each_other() -> None:
    predictor = tiny_predictor()
    boxes = [[4, 5, 30, 40], [10, 10, 50, 50]]
    together = predictor.classify_regions(image(), boxes, WORDS)
    alone = predictor.classify_regions(image(), boxes[1:], WORDS)
    assert np.allclose(together.scores[1], alone.scores[0], atol=1e-6)
    assert len(predictor.classify_regions(image(), [], WORDS)) == 0


def test_background_is_below_the_threshold() -> None:
    found = tiny_predictor().classify_regions(image(), [[4, 5, 30, 40]], WORDS, background=0.999999)
    assert found.names[0] == "background" and found.found == ("background",)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([[0, 0, float("nan"), 5]], "finite"),
        ([[10, 10, 5, 20]], "width, height"),
        ([[90, 0, 99, 9]], "no pixel"),
        ([[5, 5, 5, 9]], "no pixel"),
        (np.zeros((1, 60, 84), bool), "no pixel"),
        (np.ones((1, 30, 84), bool), "size of the image"),
    ],
)
def test_regions_without_pixels_are_refused(regions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_predictor().classify_regions(image(), regions, WORDS)
