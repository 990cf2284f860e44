"""Scenes: the same for the same seed, and annotated as they are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ovperc.data.world.holdout import HOLD_OUT, HoldOut
from ovperc.data.world.materials import paint, texture_bank
from ovperc.data.world.scene import SceneStyle, make_scene
from ovperc.data.world.shapes import coverage, outlines
from ovperc.data.world.vocabulary import COLOUR_RGB, COLOURS, MATERIALS, PATTERNS, SHAPES, Attributes

STYLE = SceneStyle(bank_seed=3, bank_tiles=1)


def test_same_seed_same_scene_whatever_was_drawn_before():
    first = make_scene((1, 2), STYLE)
    make_scene(5, STYLE)
    second = make_scene((1, 2), STYLE)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.instances, second.instances)
    assert first.objects == second.objects
    assert not np.array_equal(first.image, make_scene((1, 3), STYLE).image)


def test_texture_banks_differ_by_seed_and_repeat():
    assert np.array_equal(texture_bank(3, 1).tiles[0][0], type(texture_bank(3, 1))(3, 1).tiles[0][0])
    assert not np.array_equal(texture_bank(3, 1).tiles[0][0], paint(MATERIALS[0], np.random.default_rng((4, 0, 0))))


@pytest.mark.parametrize("size_px", [112, 224, 448])
def test_every_length_scales_with_size(size_px):
    style = replace(STYLE, size_px=size_px)
    scene = make_scene(11, style)
    assert scene.image.shape == (size_px, size_px, 3)
    assert scene.image.dtype == np.uint8
    assert scene.instances.shape == scene.materials.shape == (size_px, size_px)
    areas = [item.area_px / size_px**2 for seed in range(3) for item in make_scene(seed, style).objects]
    assert 0.01 < np.mean(areas) < 0.2


def test_boxes_and_areas_are_those_of_the_visible_pixels():
    for seed in range(20):
        scene = make_scene(seed, STYLE)
        assert scene.instances.max() <= len(scene.objects)
        for index, item in enumerate(scene.objects):
            y, x = np.nonzero(scene.instances == index + 1)
            assert item.area_px == len(y)
            if len(y):
                assert item.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)


def test_objects_have_the_colour_they_are_named_by():
    plain = tuple(Attributes(colour, 0, 0) for colour in range(len(COLOURS)))
    style = replace(STYLE, combinations=plain, photometric=0.0, objects=(1, 3))
    palette = np.float32(list(COLOUR_RGB.values()))
    right = total = 0
    for seed in range(25):
        scene = make_scene(seed, style)
        for index, item in enumerate(scene.objects):
            pixels = scene.image[scene.instances == index + 1]
            if len(pixels) > 100:
                nearest = np.abs(palette - np.median(pixels, axis=0)).sum(1).argmin()
                right += nearest == item.attributes.colour
                total += 1
    assert total > 20
    assert right / total > 0.9


def test_shapes_have_the_area_of_their_polygons():
    for name, polygons in zip(SHAPES, outlines(), strict=True):
        drawn = coverage([polygon * 60 + 80 for polygon in polygons], 0, 0, 160, 160).sum()
        areas = [
            0.5 * abs(np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1))) * 3600 for p in polygons
        ]
        assert drawn == pytest.approx(areas[0] - sum(areas[1:]), rel=0.08), name


def test_grey_pictures_have_no_colour():
    scene = make_scene(2, replace(STYLE, grey_share=1.0))
    assert scene.grey
    np.testing.assert_array_equal(scene.image[..., 0], scene.image[..., 2])
    assert not make_scene(2, STYLE).grey


def test_grounds_without_colour_leave_objects_their_colour():
    style = replace(STYLE, photometric=0.0, objects=(1, 1), combinations=(Attributes(0, 0, 0),))
    scene = make_scene(4, replace(style, grey_ground=1.0))
    spread = np.ptp(scene.image.astype(int), axis=2)
    assert np.median(spread[scene.instances == 0]) < 30
    assert np.median(spread[scene.instances == 1]) > 100
    assert not scene.grey


def test_held_out_pairs_are_few_per_word_and_never_drawn():
    for pairs, sides in ((HOLD_OUT.pattern_colour, "pattern_colour"), (HOLD_OUT.colour_shape, "colour_shape")):
        for side in range(2):
            counts = np.unique([pair[side] for pair in pairs], return_counts=True)[1]
            assert counts.max() <= 2, sides
    assert len(HOLD_OUT.pattern_colour) == 6
    assert len(HOLD_OUT.colour_shape) == 10
    assert all(pattern != PATTERNS.index("plain") for pattern, _ in HOLD_OUT.pattern_colour)
    for seed in range(60):
        for item in make_scene(seed, STYLE).objects:
            look = item.attributes
            assert (look.pattern, look.colour) not in HOLD_OUT.pattern_colour
            assert (look.colour, look.shape) not in HOLD_OUT.colour_shape


def test_hold_out_is_drawn_from_its_seed():
    assert HoldOut.draw(7) == HoldOut.draw(7)
    assert HoldOut.draw(7) != HoldOut.draw(8)
    everything = {*HOLD_OUT.base, *HOLD_OUT.with_novel_pattern_colour, *HOLD_OUT.with_novel_colour_shape}
    assert 440 < len(everything) <= 480
    with pytest.raises(ValueError, match="pairs can be held out"):
        HoldOut.draw(pattern_colour=30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": 8}, "size_px"),
        ({"combinations": ()}, "combinations"),
        ({"objects": (3, 2)}, "objects"),
        ({"materials": (0, 2)}, "material"),
    ],
)
def test_impossible_styles_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(STYLE, **change)


def test_unknown_material_is_refused():
    with pytest.raises(ValueError, match="material must be one of"):
        paint("cheese", np.random.default_rng(0))
