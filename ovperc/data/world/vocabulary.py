"""The words of the world: shapes, colours and patterns of objects, and the materials they lie on."""

from __future__ import annotations

from dataclasses import dataclass

SHAPES: tuple[str, ...] = (
    "circle",
    "square",
    "triangle",
    "star",
    "ring",
    "cross",
    "heart",
    "crescent",
    "arrow",
    "hexagon",
    "diamond",
    "flower",
)
COLOUR_RGB: dict[str, tuple[int, int, int]] = {
    "red": (205, 38, 38),
    "orange": (240, 135, 20),
    "yellow": (240, 220, 40),
    "green": (40, 150, 55),
    "cyan": (50, 205, 215),
    "blue": (40, 75, 205),
    "purple": (125, 45, 165),
    "pink": (245, 135, 185),
    "white": (240, 240, 240),
    "black": (28, 28, 32),
}
COLOURS: tuple[str, ...] = tuple(COLOUR_RGB)
PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "checkered")
MATERIALS: tuple[str, ...] = (
    "grass",
    "sand",
    "water",
    "brick",
    "wood",
    "sky",
    "snow",
    "asphalt",
    "gravel",
    "marble",
    "lava",
    "carpet",
)
SYNONYMS: dict[str, tuple[str, ...]] = {
    "grass": ("a lawn", "green grass"),
    "sand": ("a sandy beach",),
    "water": ("the sea", "blue water"),
    "brick": ("bricks", "a brick wall"),
    "wood": ("wooden boards", "a wooden table"),
    "sky": ("a cloudy sky", "the sky"),
    "asphalt": ("a road", "pavement"),
    "gravel": ("stones", "pebbles"),
    "marble": ("a marble floor",),
    "carpet": ("a rug",),
}
"""Other ways in which training captions name a material; colour words only where they always hold."""
GENERIC: tuple[str, ...] = ("object", "shape", "thing")
"""Nouns for an object whose shape is left unsaid."""


@dataclass(frozen=True, order=True)
class Attributes:
    """What an object looks like, as indices into `COLOURS`, `PATTERNS` and `SHAPES`."""

    colour: int
    pattern: int
    shape: int

    def __post_init__(self) -> None:
        for name, words in (("colour", COLOURS), ("pattern", PATTERNS), ("shape", SHAPES)):
            value = getattr(self, name)
            if not 0 <= value < len(words):
                raise ValueError(f"{name} is an index in 0..{len(words) - 1}; got {value}")

    def __str__(self) -> str:
        return f"{PATTERNS[self.pattern]} {COLOURS[self.colour]} {SHAPES[self.shape]}"


def with_article(phrase: str) -> str:
    """``"red star"`` -> ``"a red star"``."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
