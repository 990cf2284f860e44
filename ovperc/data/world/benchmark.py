"""Test sets of the world: scenes from fixed seeds, and mosaics of real photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from torch.utils.data import Dataset

from ovperc.core.naming import suggest
from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.labels import WorldLabels, colour_shape_labels, material_labels, pattern_colour_labels
from ovperc.data.world.scene import Scene, SceneStyle, make_scene, wavy_half
from ovperc.registry import DATASETS

EVALUATION_BANK = 9001
PHOTOGRAPHS: tuple[str, ...] = ("brick", "grass", "gravel")


@dataclass(frozen=True)
class WorldSample:
    """An annotated image of a test set.

    Attributes:
        image: ``(S, S, 3)`` uint8 RGB.
        labels: ``(S, S)`` uint8 labels; 255 is ignored.
        name: unique in the set.
    """

    image: np.ndarray
    labels: np.ndarray
    name: str


@dataclass(frozen=True)
class _Recipe:
    labels: Callable[[], WorldLabels]
    style: SceneStyle


def _recipes() -> dict[str, _Recipe]:
    style = SceneStyle(bank_seed=EVALUATION_BANK, bank_tiles=6)
    base = HOLD_OUT.base
    pairs, shapes = HOLD_OUT.with_novel_pattern_colour, HOLD_OUT.with_novel_colour_shape
    return {
        "world-materials": _Recipe(material_labels, replace(style, objects=(0, 0), materials=(2, 3))),
        "world-base": _Recipe(lambda: pattern_colour_labels(novel=False), style),
        "world-novel": _Recipe(pattern_colour_labels, replace(style, combinations=_evenly(base, pairs))),
        "world-shapes": _Recipe(colour_shape_labels, replace(style, combinations=_evenly(base, shapes))),
    }


def _evenly(base: tuple, novel: tuple) -> tuple:
    """Repeats the novel looks so that half of the objects show one."""
    return base + novel * max(1, len(base) // len(novel))


WORLD_WEIGHTS: Mapping[str, str] = {"*": "clip-mini"}
"""The world's benchmarks are for the dual encoder that was trained on it, where the user names no other."""

WORLD_BENCHMARKS: tuple[str, ...] = ("world-materials", "world-base", "world-novel", "world-shapes", "world-real")


@DATASETS.register_module()
class WorldSegmentation(Dataset):
    """Scenes with label maps; the same seed gives the same set on every machine.

    ``world-materials``: two or three materials and no objects. ``world-base``: pattern x colour of objects
    (``"striped red object"``) whose pairs occur in training, and materials. ``world-novel``: the same, with
    held-out pairs on half of the objects. ``world-shapes``: colour x shape (``"red star"``), the hard one, again
    with held-out pairs on half of the objects. Textures are of another bank than those of training.

    Args:
        benchmark: one of the four names.
        num_scenes: size of the set.
        size_px: side of the images; lengths scale with it.
        seed: decides the scenes.
        grey_share: share of pictures without colour.

    Attributes:
        classes: label -> words.
        groups: name of a subset of the classes -> labels.
    """

    def __init__(
        self,
        benchmark: str = "world-base",
        num_scenes: int = 200,
        size_px: int = 112,
        seed: int = 0,
        grey_share: float = 0.0,
    ) -> None:
        recipes = _recipes()
        if benchmark not in recipes:
            raise ValueError(f"unknown benchmark {benchmark!r}; {suggest(benchmark, recipes)}")
        if num_scenes < 1:
            raise ValueError(f"num_scenes must be at least 1; got {num_scenes}")
        recipe = recipes[benchmark]
        self.benchmark = benchmark
        self.num_scenes = num_scenes
        self.seed = seed
        self.style = replace(recipe.style, size_px=size_px, grey_share=grey_share)
        self.world = recipe.labels()
        self._stream = 1000 + WORLD_BENCHMARKS.index(benchmark)

    @property
    def classes(self) -> tuple[str, ...]:
        """Label -> words."""
        return self.world.classes

    @property
    def groups(self) -> Mapping[str, tuple[int, ...]]:
        """Subsets of the labels that are scored apart: ``base``, ``novel``, ``materials``."""
        return self.world.groups

    def __len__(self) -> int:
        return self.num_scenes

    def scene(self, index: int) -> Scene:
        """A scene with all its annotations."""
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of a set of {len(self)}")
        return make_scene((self._stream, self.seed, index), self.style)

    def __getitem__(self, index: int) -> WorldSample:
        scene = self.scene(index)
        return WorldSample(scene.image, self.world.label_map(scene), f"{self.benchmark}-{self.seed}-{index:05d}")


@DATASETS.register_module()
class RealTextures(Dataset):
    """``world-real``: mosaics of photographs of brick, grass and gravel that scikit-image ships.

    Every image joins two or three of the photographs along wavy borders, each at a random place and zoom, so that
    an image shows between a tenth and two thirds of a photograph in each region.

    Args:
        num_scenes: size of the set.
        size_px: side of the images.
        seed: decides the mosaics.

    Raises:
        ModuleNotFoundError: scikit-image is not installed.
    """

    classes: tuple[str, ...] = PHOTOGRAPHS

    def __init__(self, num_scenes: int = 100, size_px: int = 112, seed: int = 0) -> None:
        if num_scenes < 1:
            raise ValueError(f"num_scenes must be at least 1; got {num_scenes}")
        self.num_scenes = num_scenes
        self.size_px = size_px
        self.seed = seed
        self._photographs = load_photographs()

    @property
    def groups(self) -> Mapping[str, tuple[int, ...]]:
        """One group: all classes are materials."""
        return {"materials": tuple(range(len(PHOTOGRAPHS)))}

    def __len__(self) -> int:
        return self.num_scenes

    def __getitem__(self, index: int) -> WorldSample:
        if not 0 <= index < len(self):
            raise IndexError(f"mosaic {index} of a set of {len(self)}")
        rng = np.random.default_rng((1004, self.seed, index))
        order = rng.permutation(len(PHOTOGRAPHS))[: int(rng.integers(2, 4))]
        image = self._view(rng, int(order[0]))
        labels = np.full(image.shape[:2], order[0], np.uint8)
        for label in order[1:]:
            region = wavy_half(rng, self.size_px)
            image[region] = self._view(rng, int(label))[region]
            labels[region] = label
        return WorldSample(image, labels, f"world-real-{self.seed}-{index:05d}")

    def _view(self, rng: np.random.Generator, label: int) -> np.ndarray:
        photograph = self._photographs[label]
        side = round(len(photograph) * rng.uniform(0.35, 0.85))
        y, x = rng.integers(0, len(photograph) - side + 1, 2)
        view = cv2.resize(photograph[y : y + side, x : x + side], (self.size_px,) * 2, interpolation=cv2.INTER_AREA)
        return np.repeat(view[..., None], 3, axis=2)


@lru_cache(maxsize=1)
def load_photographs() -> tuple[np.ndarray, ...]:
    """scikit-image's photographs named by `PHOTOGRAPHS`; ``(512, 512)`` uint8 grey each."""
    try:
        from skimage import data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "world-real is made of photographs that scikit-image ships: pip install scikit-image"
        ) from error
    return tuple(getattr(data, name)() for name in PHOTOGRAPHS)


def build_benchmark(
    name: str, num_scenes: int = 200, size_px: int = 112, seed: int = 0
) -> WorldSegmentation | RealTextures:
    """A test set of the world by name (`WORLD_BENCHMARKS`)."""
    if name not in WORLD_BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}; {suggest(name, WORLD_BENCHMARKS)}")
    if name == "world-real":
        return RealTextures(num_scenes, size_px, seed)
    return WorldSegmentation(name, num_scenes, size_px, seed)
