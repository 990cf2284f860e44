"""Captions: true of their own view, free of held-out pairs, and matched to other views as people would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ovperc.data.world.captions import (
    Caption,
    View,
    caption_words,
    describe,
    look_at,
    object_code,
    openai_templates,
    truth_table,
)
from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.scene import SceneStyle, make_scene
from ovperc.data.world.vocabulary import COLOURS, MATERIALS, PATTERNS, SHAPES, SYNONYMS, Attributes

STYLE = SceneStyle(bank_seed=3, bank_tiles=1)


def _captions(seed: int, count: int = 10, grey: float = 0.0) -> tuple[View, list[Caption]]:
    view = look_at(make_scene(seed, replace(STYLE, grey_share=grey)))
    rng = np.random.default_rng(seed)
    return view, [describe(view, rng, openai_templates()) for _ in range(count)]


def test_every_word_of_a_caption_is_true_of_the_view():
    by_synonym = {text: name for name, texts in SYNONYMS.items() for text in texts}
    for seed in range(25):
        view, captions = _captions(seed)
        shapes = {SHAPES[look.shape] for look in view.named}
        colours = {COLOURS[look.colour] for look in view.named}
        patterns = {PATTERNS[look.pattern] for look in view.named}
        materials = {MATERIALS[index] for index in view.materials}
        for caption in captions:
            text = caption.text.rstrip(".")
            for synonym, name in by_synonym.items():
                if f" {synonym} " in f" {text} ":
                    text = text.replace(synonym, name)
            template_words = {"origami", "art", "rendering", "plastic", "toy", "plushie", "painting"}
            said = set(text.replace(",", " ").split()) - template_words
            assert said & set(SHAPES) <= shapes
            assert said & set(COLOURS) <= colours
            assert said & set(PATTERNS) <= patterns
            assert said & set(MATERIALS) <= materials


def test_captions_never_join_held_out_words():
    for seed in range(40):
        _, captions = _captions(seed)
        for caption in captions:
            for pattern, colour in HOLD_OUT.pattern_colour:
                assert f" {PATTERNS[pattern]} {COLOURS[colour]} " not in f" {caption.text} "
            for colour, shape in HOLD_OUT.colour_shape:
                assert f" {COLOURS[colour]} {SHAPES[shape]}" not in f" {caption.text}"


def test_captions_of_grey_pictures_name_no_colour():
    for seed in range(15):
        _, captions = _captions(seed, grey=1.0)
        assert not any(set(caption.text.replace(",", "").rstrip(".").split()) & set(COLOURS) for caption in captions)


def test_captions_are_true_of_their_own_view_and_of_more_detailed_matches():
    views, captions, owners = [], [], []
    for seed in range(12):
        view, said = _captions(seed, count=4)
        captions += said
        owners += [len(views)] * len(said)
        views.append(view)
    table = truth_table(captions, views)
    assert table.shape == (48, 12)
    assert table[np.arange(48), owners].all()


def test_truth_table_by_hand():
    red_star = Attributes(COLOURS.index("red"), PATTERNS.index("striped"), SHAPES.index("star"))
    blue_ring = Attributes(COLOURS.index("blue"), PATTERNS.index("plain"), SHAPES.index("ring"))
    grass, sand = MATERIALS.index("grass"), MATERIALS.index("sand")
    both = View((), (object_code(red_star), object_code(blue_ring)), (), 1 << grass, False)
    one = View((), (object_code(red_star),), (), 1 << grass | 1 << sand, False)
    grey = View((), (object_code(red_star, grey=True),), (), 1 << sand, True)
    empty = View((), (), (), 1 << grass, False)
    red, star = 1 << red_star.colour, object_code(red_star) & ~(1 << red_star.colour)
    ring = 1 << (len(COLOURS) + len(PATTERNS) + blue_ring.shape)
    blue = 1 << blue_ring.colour
    captions = [
        Caption("a red object", (red,), 0),
        Caption("a striped star and a ring", (star, ring), 0),
        Caption("a blue thing", (blue,), 0),
        Caption("a red object on sand", (red,), 1 << sand),
        Caption("an object", (0,), 0),
        Caption("grass", (), 1 << grass),
        Caption("a red ring", (red | ring,), 0),
    ]
    expected = [
        [True, True, True, False],
        [True, False, False, False],
        [True, False, True, False],
        [False, True, True, False],
        [True, True, True, False],
        [True, True, False, True],
        [False, False, False, False],
    ]
    np.testing.assert_array_equal(truth_table(captions, [both, one, grey, empty]), expected)


def test_window_names_only_what_it_shows():
    scene = next(s for s in (make_scene(seed, STYLE) for seed in range(50)) if len(s.objects) >= 3)
    whole = look_at(scene)
    for item in scene.objects:
        view = look_at(scene, item.box)
        if item.area_px >= 60:
            assert item.attributes in view.named
        assert set(view.named) <= {other.attributes for other in scene.objects}
        assert view.true_materials & ~whole.true_materials == 0


def test_all_words_that_captions_use_are_declared():
    declared = set(" ".join(caption_words()).replace("{}", " ").replace(".", " ").replace(",", " ").split())
    for seed in range(25):
        for caption in _captions(seed)[1]:
            assert set(caption.text.replace(".", " ").replace(",", " ").split()) <= declared


@pytest.mark.parametrize("count", [80])
def test_templates_are_those_of_clip(count):
    templates = openai_templates()
    assert len(templates) == count
    assert all(template.count("{}") == 1 for template in templates)
