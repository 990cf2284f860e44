"""photo-mini on photographs; floors lie a few points below what docs/photo_mini.md reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from skimage import data
from sklearn.metrics import roc_auc_score

import ovperc
from helpers.real_data import real_data
from ovperc.data.benchmarks import get_benchmark


@pytest.fixture(scope="module")
def predictor():
    return ovperc.load()


@pytest.mark.parametrize(
    ("picture", "words", "share"),
    [
        (data.chelsea, ("cat", "bicycle", "bus"), 0.5),
        (data.rocket, ("sky", "pizza", "zebra"), 0.4),
        (data.astronaut, ("person", "boat", "banana"), 0.3),
    ],
)
def test_everyday_words_find_what_a_photograph_shows(predictor, picture, words: Sequence[str], share: float) -> None:
    areas = predictor.predict(picture(), list(words)).areas()
    assert max(areas, key=areas.get) == words[0] and areas[words[0]] > share


def test_pixels_of_coco_sample(predictor) -> None:
    images = get_benchmark("coco-sample").images(root=real_data("coco_sample"))
    bank = predictor.bank(list(images.classes))
    right = known = 0
    for index in range(20):
        item = images[index]
        labelled = item.labels != 255
        right += (predictor.predict(item.image, bank).labels == item.labels)[labelled].sum()
        known += labelled.sum()
    assert right / known > 0.40


def test_defects_of_magnetic_tiles() -> None:
    root = real_data("magnetic_tile") / "magnetic_tile"
    memory = ovperc.load("patch_memory").fit(sorted((root / "train" / "good").iterdir())[:30])
    normal = sorted((root / "test" / "good").iterdir())[:15]
    damaged = sorted((root / "test" / "blowhole").iterdir())[:15]
    scores = [memory.predict(path).image_score for path in (*normal, *damaged)]
    assert roc_auc_score(np.repeat([0, 1], 15), scores) > 0.7
