"""Vocabularies of the world's benchmarks, and label maps in their terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ovperc.data.world.holdout import HOLD_OUT, HoldOut
from ovperc.data.world.scene import Scene
from ovperc.data.world.vocabulary import COLOURS, MATERIALS, PATTERNS, SHAPES, Attributes

IGNORE = 255


@dataclass(frozen=True)
class WorldLabels:
    """Names for what a scene shows.

    Attributes:
        classes: label -> words: first the kinds of object, then the materials.
        object_label: an object's label.
        groups: name of a subset -> its labels (``base``, ``novel`` and ``materials``), to be scored apart.
    """

    classes: tuple[str, ...]
    object_label: Callable[[Attributes], int] = field(repr=False)
    groups: Mapping[str, tuple[int, ...]]

    def label_map(self, scene: Scene) -> np.ndarray:
        """Labels of a scene's pixels, ``(S, S)`` uint8."""
        first_material = len(self.classes) - len(MATERIALS)
        labels = scene.materials + np.uint8(first_material)
        table = np.array([0, *(self.object_label(item.attributes) for item in scene.objects)], np.uint8)
        return np.where(scene.instances > 0, table[scene.instances], labels)


def material_labels() -> WorldLabels:
    """The materials; objects are ignored."""
    return WorldLabels(MATERIALS, lambda _: IGNORE, {"materials": tuple(range(len(MATERIALS)))})


def pattern_colour_labels(hold_out: HoldOut = HOLD_OUT, novel: bool = True) -> WorldLabels:
    """``"striped red object"`` and so on, with or without the held-out pairs."""
    pairs = [
        (pattern, colour)
        for pattern in range(len(PATTERNS))
        for colour in range(len(COLOURS))
        if novel or (pattern, colour) not in hold_out.pattern_colour
    ]
    index = {pair: label for label, pair in enumerate(pairs)}
    return WorldLabels(
        (*(f"{PATTERNS[pattern]} {COLOURS[colour]} object" for pattern, colour in pairs), *MATERIALS),
        lambda look: index[look.pattern, look.colour],
        _groups([pair in hold_out.pattern_colour for pair in pairs]),
    )


def colour_shape_labels(hold_out: HoldOut = HOLD_OUT) -> WorldLabels:
    """``"red star"`` and so on, all pairs."""
    pairs = [(colour, shape) for colour in range(len(COLOURS)) for shape in range(len(SHAPES))]
    return WorldLabels(
        (*(f"{COLOURS[colour]} {SHAPES[shape]}" for colour, shape in pairs), *MATERIALS),
        lambda look: look.colour * len(SHAPES) + look.shape,
        _groups([pair in hold_out.colour_shape for pair in pairs]),
    )


def _groups(is_novel: list[bool]) -> dict[str, tuple[int, ...]]:
    first_material = len(is_novel)
    groups = {
        "base": tuple(label for label, novel in enumerate(is_novel) if not novel),
        "novel": tuple(label for label, novel in enumerate(is_novel) if novel),
        "materials": tuple(range(first_material, first_material + len(MATERIALS))),
    }
    return {name: labels for name, labels in groups.items() if labels}
