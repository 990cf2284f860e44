"""Word pairs kept out of training, to measure what composes.

Pairs are drawn at random with at most two per word: a hold-out with a rule (index arithmetic) becomes
a shortcut that a model exploits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ovperc.data.world.vocabulary import COLOURS, PATTERNS, SHAPES, Attributes

SEED = 42


@dataclass(frozen=True)
class HoldOut:
    """Pairs that no training image or caption may show.

    Attributes:
        pattern_colour: ``(pattern, colour)`` indices; ``plain`` is never held out.
        colour_shape: ``(colour, shape)`` indices.
    """

    pattern_colour: frozenset[tuple[int, int]]
    colour_shape: frozenset[tuple[int, int]]

    @classmethod
    def draw(cls, seed: int = SEED, pattern_colour: int = 6, colour_shape: int = 10) -> HoldOut:
        """Draws the pairs; each word is in at most two of them."""
        rng = np.random.default_rng(seed)
        patterned = _draw_pairs(rng, len(PATTERNS) - 1, len(COLOURS), pattern_colour)
        return cls(
            frozenset((pattern + 1, colour) for pattern, colour in patterned),
            _draw_pairs(rng, len(COLOURS), len(SHAPES), colour_shape),
        )

    def novel_pattern_colour(self, attributes: Attributes) -> bool:
        """Whether the object's pattern and colour are a held-out pair."""
        return (attributes.pattern, attributes.colour) in self.pattern_colour

    def novel_colour_shape(self, attributes: Attributes) -> bool:
        """Whether the object's colour and shape are a held-out pair."""
        return (attributes.colour, attributes.shape) in self.colour_shape

    @cached_property
    def base(self) -> tuple[Attributes, ...]:
        """Combinations free of held-out pairs: all that training may use."""
        return tuple(a for a in EVERYTHING if not self.novel_pattern_colour(a) and not self.novel_colour_shape(a))

    @cached_property
    def with_novel_pattern_colour(self) -> tuple[Attributes, ...]:
        """Combinations whose pattern and colour are held out (and colour and shape are not)."""
        return tuple(a for a in EVERYTHING if self.novel_pattern_colour(a) and not self.novel_colour_shape(a))

    @cached_property
    def with_novel_colour_shape(self) -> tuple[Attributes, ...]:
        """Combinations whose colour and shape are held out (and pattern and colour are not)."""
        return tuple(a for a in EVERYTHING if self.novel_colour_shape(a) and not self.novel_pattern_colour(a))


def _draw_pairs(rng: np.random.Generator, rows: int, columns: int, count: int) -> frozenset[tuple[int, int]]:
    if not 0 <= count <= min(2 * rows, 2 * columns):
        raise ValueError(f"at most {2 * min(rows, columns)} pairs can be held out of {rows} x {columns}; got {count}")
    while True:  # greedy picks can paint themselves into a corner; then start over
        pairs: list[tuple[int, int]] = []
        for index in rng.permutation(rows * columns):
            row, column = divmod(int(index), columns)
            if sum(r == row for r, _ in pairs) < 2 and sum(c == column for _, c in pairs) < 2:
                pairs.append((row, column))
            if len(pairs) == count:
                return frozenset(pairs)


EVERYTHING: tuple[Attributes, ...] = tuple(
    Attributes(colour, pattern, shape)
    for colour in range(len(COLOURS))
    for pattern in range(len(PATTERNS))
    for shape in range(len(SHAPES))
)
HOLD_OUT = HoldOut.draw()
