"""Phrases of an attribute and a noun, and caption-like sentences, composed at random from words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ovperc.data.photo.wordnet import Lemma


def _words(text: str) -> tuple[str, ...]:
    """Entries between commas."""
    return tuple(" ".join(entry.split()) for entry in text.split(","))


_ATTRIBUTES = _words(
    """red, orange, yellow, green, blue, purple, pink, brown, black, white, grey, golden, silver, beige, turquoise,
    colorful, dark, bright, pale, transparent, shiny, striped, spotted, checkered, plain, wooden, metal, plastic, glass,
    stone, brick, concrete, leather, cotton, paper, cardboard, ceramic, marble, steel, woolen, rubber, tiled, furry,
    feathered, big, small, large, tiny, huge, tall, short, long, thin, thick, round, square, flat, curved, narrow, wide,
    empty, full, open, closed, folded, stacked, sliced, cooked, raw, fresh, frozen, wet, dry, clean, dirty, old, new,
    young, wild, baby, parked, moving, sleeping, standing, sitting, running, flying, damaged, broken, cracked,
    scratched, rusty, dented, torn, stained, bent, burnt, worn, chipped, faulty, defective, flawless, intact, perfect,
    normal, missing, loose"""
)
_RELATIONS = _words(
    """on, in, under, near, behind, with, beside, above, next to, in front of, on top of, full of, covered with,
    surrounded by, made of, leaning against"""
)
_ACTIONS = _words(
    """holding, riding, wearing, eating, carrying, watching, pushing, pulling, throwing, catching, cutting, cleaning,
    sitting on, standing on, standing next to, looking at, playing with, walking on, lying on"""
)
_ACTORS = _words("man, woman, boy, girl, child, person, dog, cat, horse, bird, group of people")
_PLACES = _words(
    """street, beach, kitchen, bathroom, bedroom, living room, field, forest, park, road, table, grass, snow, water,
    city, room, office, garden, sidewalk, wall, sky, lawn, shop"""
)
_DEFECTS = _words("scratch, crack, hole, dent, stain, missing part, bent wire, chip, cut, tear, blowhole")


def compose_phrases(nouns: Sequence[Lemma], count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Distinct phrases such as ``"striped umbrella"``, one or two attributes each, and more of common nouns."""
    draw = _NounDraw(nouns, rng)
    found: dict[str, None] = {}
    while len(found) < count:
        attributes = rng.choice(_ATTRIBUTES, 1 if rng.random() < 0.8 else 2, replace=False)
        found[" ".join([*attributes, draw()])] = None
    return tuple(found)


def compose_captions(nouns: Sequence[Lemma], count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Distinct sentences such as ``"a red car parked on the street"``, as image captions are written."""
    draw = _NounDraw(nouns, rng)

    def thing() -> str:
        words = [*rng.choice(_ATTRIBUTES, int(rng.random() < 0.4)), draw()]
        return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"

    found: dict[str, None] = {}
    while len(found) < count:
        form = rng.random()
        if form < 0.35:
            text = f"{thing()} {rng.choice(_RELATIONS)} {thing()}"
        elif form < 0.65:
            text = f"a {rng.choice(_ACTORS)} {rng.choice(_ACTIONS)} {thing()}"
        elif form < 0.8:
            text = f"{thing()} {rng.choice(('on', 'in', 'near', 'at'))} the {rng.choice(_PLACES)}"
        elif form < 0.92:
            text = f"{thing()}, {thing()} and {thing()}"
        else:
            text = f"{thing()} with a {rng.choice(_DEFECTS)}"
        found[text] = None
    return tuple(found)


class _NounDraw:
    """Draws concrete nouns, more often those that WordNet's corpus holds."""

    def __init__(self, nouns: Sequence[Lemma], rng: np.random.Generator) -> None:
        self._names = [noun.name for noun in nouns if noun.concrete]
        share = np.array([(noun.count + 0.005) ** 0.5 for noun in nouns if noun.concrete])
        self._share, self._rng = share / share.sum(), rng
        self._ready: list[int] = []

    def __call__(self) -> str:
        if not self._ready:
            self._ready = self._rng.choice(len(self._names), 4096, p=self._share).tolist()
        return self._names[self._ready.pop()]
