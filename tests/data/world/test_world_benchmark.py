"""Test sets of the world: label maps agree with the annotations, and sets repeat."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from ovperc.data.world import benchmark as sets
from ovperc.data.world.benchmark import WORLD_BENCHMARKS, RealTextures, WorldSegmentation, build_benchmark
from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.vocabulary import COLOURS, MATERIALS, PATTERNS, SHAPES
from ovperc.registry import DATASETS

GENERATED = WORLD_BENCHMARKS[:-1]


@pytest.mark.parametrize("name", GENERATED)
def test_label_maps_agree_with_instances_and_materials(name):
    world = WorldSegmentation(name, num_scenes=12)
    words = {
        "world-base": lambda look: f"{PATTERNS[look.pattern]} {COLOURS[look.colour]} object",
        "world-novel": lambda look: f"{PATTERNS[look.pattern]} {COLOURS[look.colour]} object",
        "world-shapes": lambda look: f"{COLOURS[look.colour]} {SHAPES[look.shape]}",
    }
    for index in range(len(world)):
        scene, sample = world.scene(index), world[index]
        np.testing.assert_array_equal(scene.image, sample.image)
        for number, item in enumerate(scene.objects):
            labels = sample.labels[scene.instances == number + 1]
            assert all(world.classes[label] == words[name](item.attributes) for label in np.unique(labels))
        ground = sample.labels[scene.instances == 0]
        named = scene.materials[scene.instances == 0]
        for label in np.unique(ground):
            assert {MATERIALS[m] for m in np.unique(named[ground == label])} == {world.classes[label]}


def test_novel_sets_show_held_out_pairs_and_the_base_set_does_not():
    def share(name, is_novel):
        world = WorldSegmentation(name, num_scenes=30)
        looks = [item.attributes for index in range(len(world)) for item in world.scene(index).objects]
        return np.mean([is_novel(look) for look in looks])

    assert share("world-base", HOLD_OUT.novel_pattern_colour) == 0
    assert 0.3 < share("world-novel", HOLD_OUT.novel_pattern_colour) < 0.7
    assert 0.3 < share("world-shapes", HOLD_OUT.novel_colour_shape) < 0.7


@pytest.mark.parametrize("name", GENERATED)
def test_groups_part_the_classes(name):
    world = WorldSegmentation(name, num_scenes=1)
    labels = sorted(label for group in world.groups.values() for label in group)
    assert labels == list(range(len(world.classes)))
    assert len(set(world.classes)) == len(world.classes)
    assert [world.classes[label] for label in world.groups["materials"]] == list(MATERIALS)


def test_sets_repeat_and_differ_by_seed():
    first, again, other = (WorldSegmentation("world-base", 2, seed=seed)[1] for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.image, other.image)
    assert first.name == again.name != other.name


def test_registry_builds_the_sets():
    built = DATASETS.build({"type": "WorldSegmentation", "benchmark": "world-novel", "num_scenes": 3})
    assert len(built) == 3
    assert built.benchmark == "world-novel"


@pytest.mark.parametrize("bad", ["world-bass", "ade150"])
def test_unknown_names_are_answered_with_what_there_is(bad):
    with pytest.raises(ValueError, match="world-"):
        build_benchmark(bad)


def test_indices_beyond_the_set_are_refused():
    world = WorldSegmentation("world-base", num_scenes=1)
    with pytest.raises(IndexError):
        world[1]


def test_real_mosaics_join_photographs_and_repeat():
    pytest.importorskip("skimage")
    mosaics = build_benchmark("world-real", num_scenes=6, size_px=96)
    assert mosaics.classes == ("brick", "grass", "gravel")
    seen = set()
    for index in range(len(mosaics)):
        sample = mosaics[index]
        assert sample.image.shape == (96, 96, 3)
        np.testing.assert_array_equal(sample.image, mosaics[index].image)
        seen |= set(np.unique(sample.labels).tolist())
    assert seen == {0, 1, 2}


def test_real_mosaics_say_what_to_install(monkeypatch):
    sets.load_photographs.cache_clear()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-image"):
        RealTextures()
    sets.load_photographs.cache_clear()
