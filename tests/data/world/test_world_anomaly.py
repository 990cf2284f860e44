"""Products with defects: determinism, masks against the pixels that changed, disjoint splits."""

from __future__ import annotations

import numpy as np
import pytest

from ovperc.data.anomaly import AnomalyImages
from ovperc.data.anomaly.records import shot_images
from ovperc.data.world.anomaly import (
    PRODUCTS,
    TEST_KINDS,
    TEST_PRODUCTS,
    TRAIN_KINDS,
    TRAIN_PRODUCTS,
    WorldAnomaly,
    draw_product,
    kinds_of,
)
from ovperc.data.world.defects import DEFECTS, Surface, add_defect
from ovperc.data.world.holdout import HOLD_OUT


def _small(**options: object) -> WorldAnomaly:
    return WorldAnomaly(**{"good": 1, "per_kind": 1, "normal": 2, **options})


def test_train_and_test_share_no_category_and_no_kind() -> None:
    assert not set(TRAIN_KINDS) & set(TEST_KINDS)
    assert set(TRAIN_KINDS) | set(TEST_KINDS) == set(DEFECTS)
    assert not {p.category for p in TRAIN_PRODUCTS} & {p.category for p in TEST_PRODUCTS}
    assert not {p.words for p in TRAIN_PRODUCTS} & {p.words for p in TEST_PRODUCTS}


def test_objects_are_looks_that_training_of_the_towers_may_show() -> None:
    looks = [product.look for product in TRAIN_PRODUCTS + TEST_PRODUCTS if product.look is not None]
    assert all(look in HOLD_OUT.base for look in looks)


@pytest.mark.parametrize("split", ["train", "test"])
def test_set_lists_what_it_gives(split: str) -> None:
    images = _small(split=split)
    assert isinstance(images, AnomalyImages)
    assert len({record.name for record in images.records}) == len(images)
    assert [product.category for product in PRODUCTS[split]] == list(images.categories)
    for index in range(0, len(images), 5):
        sample = images[index]
        assert sample.record is images.records[index]
        assert sample.image.shape == (112, 112, 3)
        assert sample.image.dtype == np.uint8
        assert sample.mask.dtype == bool
        assert sample.mask.any() == sample.record.anomalous


def test_same_seed_same_images_in_any_order() -> None:
    first, second = _small(), _small()
    backwards = {index: second[index] for index in reversed(range(0, len(second), 7))}
    for index, sample in backwards.items():
        np.testing.assert_array_equal(first[index].image, sample.image)
        np.testing.assert_array_equal(first[index].mask, sample.mask)
    assert (_small(seed=1)[0].image != first[0].image).any()


def test_a_longer_set_begins_like_a_shorter_one() -> None:
    few, many = _small(), _small(per_kind=2, good=3)
    index = {record.name: i for i, record in enumerate(many.records)}
    for position in range(0, len(few), 9):
        np.testing.assert_array_equal(few[position].image, many[index[few.records[position].name]].image)


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("product", [TEST_PRODUCTS[1], TRAIN_PRODUCTS[7]], ids=lambda product: product.category)
def test_masks_are_the_changed_pixels(kind: str, product) -> None:
    if kind not in kinds_of(product, DEFECTS):
        pytest.skip("this product cannot have it")
    for seed in range(4):
        rng = np.random.default_rng(seed)
        surface = draw_product(product, (0,), rng, 112)
        damaged = add_defect(kind, surface, rng)
        change = np.abs(damaged.image - surface.image).max(2)
        assert 0.003 <= damaged.mask.mean() <= 0.16
        assert change[damaged.mask].mean() >= 25  # visible to a person
        assert (change[damaged.mask] > 10).mean() > 0.5
        assert (change[~damaged.mask] > 25).sum() <= 0.25 * damaged.mask.sum()  # soft edges only
        assert damaged.mask[surface.part < 0.2].sum() == 0


def test_size_scales_lengths() -> None:
    small, large = _small(), _small(size_px=224)
    index = next(i for i, record in enumerate(small.records) if record.kind == "burn")
    assert large[index].image.shape == (224, 224, 3)
    assert large[index].mask.mean() == pytest.approx(small[index].mask.mean(), rel=1.0)


def test_shots_are_nested_distinct_and_no_test_images() -> None:
    images = _small(normal=6)
    two, four = shot_images(images, "wood", 2), shot_images(images, "wood", 4)
    for a, b in zip(two, four, strict=False):
        np.testing.assert_array_equal(a, b)
    assert len({image.tobytes() for image in four}) == 4
    assert all((image != images[0].image).any() for image in four)
    with pytest.raises(ValueError, match=r"shots=7.*the data set has 6"):
        shot_images(images, "wood", 7)
    with pytest.raises(ValueError, match="zero-shot"):
        shot_images(_small(normal=0), "wood", 1)


def test_errors_name_what_to_do() -> None:
    with pytest.raises(ValueError, match="split must be"):
        WorldAnomaly(split="val")
    with pytest.raises(ValueError, match=r"unknown category 'wod'.*wood"):
        WorldAnomaly(categories=("wod",))
    with pytest.raises(ValueError, match="styles must be at least 1"):
        WorldAnomaly(styles=0)
    with pytest.raises(IndexError):
        _small()[10_000]
    flat = Surface(np.full((40, 40, 3), 90, np.float32), np.ones((40, 40), np.float32), np.zeros((40, 40, 3)), 1.0)
    with pytest.raises(ValueError, match=r"unknown kind of defect 'burnt'.*burn"):
        add_defect("burnt", flat, np.random.default_rng(0))
    with pytest.raises(ValueError, match="needs a product with a border"):
        add_defect("missing part", flat, np.random.default_rng(0))
