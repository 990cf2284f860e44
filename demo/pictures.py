"""The images of ``make demo``: freely licensed photographs from scikit-image, and generated scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ovperc.data.world.benchmark import RealTextures, WorldSegmentation
from ovperc.data.world.scene import Scene
from ovperc.data.world.vocabulary import COLOURS, MATERIALS, PATTERNS


@dataclass(frozen=True)
class DemoPicture:
    """An image and its vocabulary.

    Attributes:
        name: stem of the output files.
        title: description and source.
        image: ``(H, W, 3)`` uint8 RGB.
        words: class names.
        truth: ``(H, W)`` integers, label of each pixel in the order of ``words``; None if unknown.
    """

    name: str
    title: str
    image: np.ndarray
    words: tuple[str, ...]
    truth: np.ndarray | None = None


def scene_picture(benchmark: str, index: int, title: str, size_px: int = 336) -> DemoPicture:
    """A scene of a test set, with its classes and a few absent ones as vocabulary."""
    scene = WorldSegmentation(benchmark, index + 1, size_px).scene(index)
    objects = [_object_words(scene, item) for item in range(len(scene.objects))]
    materials = [MATERIALS[material] for material in np.unique(scene.materials)]
    absent = [material for material in MATERIALS if material not in materials][:2]
    words = tuple(dict.fromkeys([*objects, *materials, *absent]))
    of_material = np.array([words.index(name) if name in words else 0 for name in MATERIALS])
    of_object = np.array([0, *map(words.index, objects)])
    truth = np.where(scene.instances > 0, of_object[scene.instances], of_material[scene.materials])
    return DemoPicture(f"scene-{benchmark}", title, scene.image, words, truth)


def _object_words(scene: Scene, item: int) -> str:
    """Pattern and colour, as in the vocabularies of the test sets."""
    look = scene.objects[item].attributes
    return f"{PATTERNS[look.pattern]} {COLOURS[look.colour]} object"


def mosaic_picture(size_px: int = 336) -> DemoPicture:
    """The first mosaic of the test set that shows all three textures."""
    samples = RealTextures(num_scenes=20, size_px=size_px)
    sample = next(samples[index] for index in range(20) if len(np.unique(samples[index].labels)) == 3)
    title = "photographs of brick, grass and gravel (scikit-image, CC0)"
    return DemoPicture("mosaic", title, sample.image, RealTextures.classes, sample.labels)


def world_pictures() -> list[DemoPicture]:
    """A scene of the procedural world and a mosaic of real textures, with clip-mini's words."""
    title = "a generated scene: half of the pairs of words were held out of training"
    return [scene_picture("world-novel", 0, title), mosaic_picture()]


def photographs() -> list[DemoPicture]:
    """Photographs inside scikit-image's wheel, with everyday words, some of which they do not show."""
    from skimage import data

    cat, coffee, rocket, astronaut = data.chelsea(), data.coffee(), data.rocket(), data.astronaut()
    return [
        DemoPicture("cat", "Chelsea the cat (S. van der Walt, CC0)", cat, ("cat", "dog", "blanket", "wall")),
        DemoPicture("coffee", "coffee on wood (R. Michetti, CC0)", coffee, ("cup", "spoon", "table", "cat")),
        DemoPicture("rocket", "a rocket (SpaceX, public domain)", rocket, ("rocket", "sky", "tree", "building")),
        DemoPicture("astronaut", "E. Collins (NASA, public domain)", astronaut, ("person", "banner", "airplane")),
    ]
