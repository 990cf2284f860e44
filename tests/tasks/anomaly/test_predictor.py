"""The predictor: batches, orders, tiles, odd images, calibration, and the methods as they are loaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ovperc
from helpers.tiny_models import tiny_clip
from ovperc.tasks.anomaly.load import build_predictor
from ovperc.tasks.anomaly.method import AnomalyMethod
from ovperc.tasks.methods import load_method

SQUARE = {"type": "SquareTiler", "size_px": 48}
TEXTS = {"type": "ComposedTexts", "prompts": "photo"}
HEADS = {
    "text": {"type": "TextMapHead", "side_blocks": 2},
    "adaptive": {"type": "AdaptiveTextHead", "side_blocks": 3, "steps": 2},
    "windows": {"type": "WinClipHead"},
    "memory": {"type": "PatchMemoryHead"},
}


def _predictor(head: str = "text", tiler=SQUARE, **fields):
    texts = None if head == "memory" else TEXTS
    pos_embed = "bilinear_square"
    method = AnomalyMethod(
        name=f"tiny-{head}", head=HEADS[head], tiler=tiler, texts=texts, pos_embed=pos_embed, **fields
    )
    return build_predictor(method, tiny_clip("vit", pos_embed=pos_embed))


def _images(count: int = 5, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = [(48, 48), (60, 30), (48, 48), (17, 90), (5, 5), (48, 64)]
    return [rng.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("tiler", [SQUARE, {"type": "Tiler", "short_side_px": 48, "whole_patches": True}])
def test_scores_do_not_depend_on_neighbours_order_or_earlier_calls(head, tiler):
    predictor, images = _predictor(head, tiler), _images()
    if head == "memory":
        predictor = predictor.fit(_images(2, seed=9))
    together = predictor.score(images, "star")
    backwards = predictor.score(images[::-1], "star")[::-1]
    alone = [predictor.score([image], "star")[0] for image in images]
    for first, second, third, image in zip(together, backwards, alone, images, strict=True):
        assert first.original_hw == image.shape[:2] and first.grid.dtype == np.float32
        for other in (second, third):
            np.testing.assert_allclose(first.grid, other.grid, atol=2e-5)
            assert first.image_score == pytest.approx(other.image_score, abs=2e-5)


def test_predictions_have_the_size_of_their_images():
    predictor, images = _predictor(), _images()
    found = predictor.predict(images, "star")
    assert [one.size_hw for one in found] == [image.shape[:2] for image in images]
    one = predictor.predict(images[1], "star", source="a.png")
    assert one.source == "a.png" and one.is_anomalous is None and one.regions == ()
    np.testing.assert_allclose(one.map, found[1].map, atol=2e-5)
    np.testing.assert_allclose(predictor.scores(images[1], "star").numpy(), one.map, atol=2e-5)


def test_black_images_have_defined_scores():
    for head in ("text", "adaptive", "windows"):
        found = _predictor(head).predict(np.zeros((5, 5, 3), np.uint8), "star")
        assert np.isfinite(found.map).all()
    black = np.zeros((20, 20, 3), np.uint8)
    found = _predictor("memory").fit([black]).predict(black)
    np.testing.assert_allclose(found.map, 0, atol=1e-5)


def test_tiles_of_a_large_image_share_one_grid():
    tiler = {"type": "Tiler", "crop_px": 48, "stride_px": 24, "whole_patches": True, "max_long_side_px": None}
    predictor = _predictor("text", tiler, upsampler={"sigma_px": 0.0})
    image = _images(1, seed=3)[0].repeat(2, axis=0).repeat(3, axis=1)  # 96 x 144
    score = predictor.score([image], "star")[0]
    assert score.grid.shape == (12, 18)
    single = _predictor("text")
    corner = single.score([np.ascontiguousarray(image[:48, :48])], "star")[0]
    np.testing.assert_allclose(score.grid[:3, :3], corner.grid[:3, :3], atol=2e-5)  # seen by the first tile alone
    tiles = [image[y : y + 48, x : x + 48] for y in (0, 24, 48) for x in (0, 24, 48, 72, 96)]
    each = [one.image_score for one in single.score([np.ascontiguousarray(tile) for tile in tiles], "star")]
    assert score.image_score == pytest.approx(max(each), abs=1e-5)
    mean = _predictor("text", tiler, tile_score="mean").score([image], "star")[0]
    assert mean.image_score == pytest.approx(np.mean(each), abs=1e-5)


def test_memory_does_not_depend_on_the_order_of_its_images():
    images, tests = _images(4, seed=2), _images(3)
    head = {**HEADS["memory"], "keep": 20}
    method = AnomalyMethod(name="memory", head=head, tiler=SQUARE, augment=("hflip", "rot90"))
    predictor = build_predictor(method, tiny_clip("vit"))
    first, second = predictor.fit(images), predictor.fit(images[::-1])
    for one, other in zip(first.score(tests), second.score(tests), strict=True):
        np.testing.assert_array_equal(one.grid, other.grid)
    assert predictor.head.banks == () and not predictor.remembered
    assert torch.equal(first.head.banks[0].rows, second.head.banks[0].rows)


def test_calibration_from_normal_images():
    normal, fresh = _images(6, seed=4), _images(4, seed=5)
    fitted = _predictor("memory").fit(normal, fpr=0.2)
    assert fitted.calibration.origin == "normal" and fitted.calibration.num_images == 6
    assert fitted.calibration.image_threshold > max(score.image_score for score in fitted.score(normal))
    with pytest.raises(ValueError, match="score as normal by construction"):
        fitted.calibrate(normal[:1])
    again = fitted.calibrate(fresh, fpr=0.2)
    highest = max(score.image_score for score in fitted.score(fresh))
    assert again.calibration.image_threshold == pytest.approx(highest, rel=1e-5)
    found = again.predict(fresh)
    assert not any(one.is_anomalous for one in found) and not any(one.regions for one in found)
    with pytest.raises(ValueError, match="at least 2"):
        _predictor("memory").fit(normal[:1], fpr=0.2)
    zero_shot = _predictor("text").learn_normal(normal, "star", fpr=0.3)
    assert zero_shot.calibration.fpr == 0.3 and not zero_shot.remembered


def test_calibration_from_labels_and_by_hand():
    predictor, images = _predictor(), _images(4)
    masks = [np.zeros(image.shape[:2], bool) for image in images]
    masks[1][:10] = True
    found = predictor.calibrate_labelled(images, [False, True, False, False], masks, "star").calibration
    assert found.origin == "labelled" and found.pixel_threshold is not None
    with pytest.raises(ValueError, match="size of its map"):
        predictor.calibrate_labelled(images, [False, True, False, False], masks[::-1], "star")
    given = predictor.with_thresholds(0.0, 0.0).predict(images[0], "star", min_area_px=3)
    assert given.is_anomalous and given.regions[0].area_px == 48 * 48 and given.calibration.origin == "given"


def test_bad_input_is_told_apart():
    with pytest.raises(ValueError, match=r"fit\(normal_images\)"):
        _predictor("memory").predict(_images(1)[0])
    with pytest.raises(ValueError, match="at least one normal image"):
        _predictor("memory").fit([])
    with pytest.raises(ValueError, match="cannot be fitted"):
        _predictor("text").fit(_images(1))
    with pytest.raises(TypeError, match="uint8"):
        _predictor().score([np.zeros((4, 4))], "star")
    with pytest.raises(ValueError, match="object_name"):
        _predictor().predict(_images(1)[0], " ")
    with pytest.raises(ValueError, match="whole_patches"):
        odd = {"type": "Tiler", "crop_px": 44, "stride_px": 20, "whole_patches": True}
        _predictor("text", odd).score([_images(1)[0].repeat(3, axis=0)], "star")


def test_methods_are_checked():
    for fields, message in (
        ({"head": {"side_blocks": 1}}, "head must be dict"),
        ({"texts": {"prompts": "photo"}}, "texts must be dict"),
        ({"resize": "nearest"}, "unknown resize"),
        ({"augment": ("flip",)}, "unknown augment"),
        ({"tile_score": "median"}, "unknown tile_score"),
    ):
        with pytest.raises(ValueError, match=message):
            AnomalyMethod(**{"name": "x", "head": HEADS["text"], "tiler": SQUARE, **fields})


def test_loading_by_name():
    predictor = ovperc.load("patch_memory", **{"head.keep": 50})
    assert predictor.info.weights == "photo-mini" and predictor.head.keep == 50 and predictor.texts is None
    assert ovperc.load("patch_memory", "dino-mini").head.blocks == (1, 2, 3)
    on_clip = ovperc.load("patch_memory", "clip-mini")
    assert on_clip.info.arch == "clip-mini"
    anovl = ovperc.load("anovl_tta", **{"head.steps": 1})
    assert (anovl.tiler.size_px, anovl.head.steps) == (112, 1)  # other parts are adapted to the tower all the same
    assert ovperc.load("anovl", **{"tiler.size_px": 64}).tiler.size_px == 64
    with pytest.raises(ValueError, match="needs a text tower"):
        ovperc.load("anovl", "dino-mini")
    with pytest.raises(ValueError, match="background"):
        ovperc.load("anovl", background="sky")
    with pytest.raises(ValueError, match=r"texts\.source"):
        build_predictor(load_method("anomalyclip"), tiny_clip("vit"))
    with pytest.raises(ValueError, match="texts="):
        build_predictor(AnomalyMethod(name="x", head=HEADS["text"], tiler=SQUARE), tiny_clip("vit"))
    with pytest.raises(ValueError, match="unknown texts"):
        ovperc.load("anovl", **{"texts.type": "Composed"})
    with pytest.raises(ValueError, match="unknown anomaly head"):
        ovperc.load("anovl", **{"head.type": "TextMap"})
