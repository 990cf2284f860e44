"""The shipped heads: they load by name, fit clip-mini, and find pairs that no training picture showed."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open

import ovperc
from ovperc.data.world.detection import WorldDetection
from ovperc.data.world.detection_batches import world_phrases
from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.vocabulary import COLOURS, PATTERNS, SHAPES
from ovperc.evaluation.detection import image_detections
from ovperc.evaluation.metrics.detection import evaluate_coco
from ovperc.tasks.detection.prediction import DetPrediction
from ovperc.weights.catalogue import get_entry, resolve_weights


@pytest.fixture(scope="module")
def predictor():
    return ovperc.load("fvlm")


def test_the_file_is_small_and_says_how_it_was_made() -> None:
    path = resolve_weights("fvlm-mini")
    assert path.stat().st_size <= 4e6
    with safe_open(path, "pt") as file:
        made = file.metadata()
    assert made["command"].startswith("python tools/train.py configs/train/") and made["seed"] == "0"
    assert made["licence"] == get_entry("fvlm-mini").licence
    assert path.with_suffix(".log").is_file()


def test_training_words_hold_no_held_out_pair(predictor) -> None:
    pairs = {f"{PATTERNS[p]} {COLOURS[c]} object" for p, c in HOLD_OUT.pattern_colour}
    pairs |= {f"{COLOURS[c]} {SHAPES[s]}" for c, s in HOLD_OUT.colour_shape}
    known = {word for words in world_phrases() for word in words}
    assert not pairs & known and not pairs & predictor.base_words
    assert predictor.base_words == {word.casefold() for word in known}


def test_average_precision_on_base_and_held_out_pairs(predictor) -> None:
    """40 scenes; the figures of 200 are in docs/how_to/detection.md."""
    images = WorldDetection("test", 40)
    words = list(images.classes)
    found = [image_detections(predictor.predict(images[i].image, words), images[i].image_id) for i in range(40)]
    scores = evaluate_coco(images.truth(), found).scores()
    masks = evaluate_coco(images.truth(), found, "segm").scores()
    assert scores["AP50.base"] > 60
    assert scores["AP50.novel"] > 25 and scores["AP50.novel"] > scores["AP50.base"] / 2
    assert masks["AP50"] > 0.8 * scores["AP50"]


@pytest.mark.parametrize("method", ["fvlm", "vild", "sam_regions"])
def test_methods_run_on_the_shipped_weights_at_any_size(method: str) -> None:
    image = WorldDetection("test", 1, size_px=224)[0].image[:150]
    answer = ovperc.load(method).predict(image, "red object, striped blue object", background="grass, sky")
    assert isinstance(answer, DetPrediction) and answer.size_hw == (150, 224)
    assert answer.masks is not None and np.all(answer.boxes >= 0)


def test_heads_of_another_tower_are_refused() -> None:
    with pytest.raises(ValueError, match=r"train heads for it|trained with the text encoder"):
        ovperc.load("fvlm", "random", "ViT-B-32")
