"""Captions of a scene or of a window of it, with random detail, and which images each is true of.

A caption says only some of what can be seen, so it can be true of other images of a batch as well;
those must not count as negatives (`truth_table`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ovperc.data.world.scene import Scene
from ovperc.data.world.vocabulary import (
    COLOURS,
    GENERIC,
    MATERIALS,
    PATTERNS,
    SHAPES,
    SYNONYMS,
    Attributes,
    with_article,
)

_PATTERN_BIT = len(COLOURS)
_SHAPE_BIT = _PATTERN_BIT + len(PATTERNS)
_ANY_COLOUR = (1 << len(COLOURS)) - 1
_FRAMES = (
    "a photo of {}",
    "an image of {}",
    "a picture of {}",
    "a close-up photo of {}",
    "there is {}",
    "{} in the scene",
)


def object_code(look: Attributes, grey: bool = False) -> int:
    """Bits of what is true of an object; without colour in the picture every colour word may be."""
    colours = _ANY_COLOUR if grey else 1 << look.colour
    return colours | 1 << (_PATTERN_BIT + look.pattern) | 1 << (_SHAPE_BIT + look.shape)


@dataclass(frozen=True)
class View:
    """What a window of a scene shows.

    Attributes:
        named: objects that are seen well enough to be named.
        true_codes: codes of all objects of which anything can be seen.
        materials: materials seen well enough to be named.
        true_materials: bits of all materials of which anything can be seen.
        grey: whether the picture has no colour.
    """

    named: tuple[Attributes, ...]
    true_codes: tuple[int, ...]
    materials: tuple[int, ...]
    true_materials: int
    grey: bool


@dataclass(frozen=True)
class Caption:
    """A text and what it claims: one code for each object it mentions, bits of materials."""

    text: str
    codes: tuple[int, ...]
    materials: int


def look_at(scene: Scene, window: tuple[int, int, int, int] | None = None) -> View:
    """Sums up a window ``(x0, y0, x1, y1)`` of a scene, or the whole of it."""
    x0, y0, x1, y1 = window or (0, 0, scene.image.shape[1], scene.image.shape[0])
    instances = scene.instances[y0:y1, x0:x1]
    seen = np.bincount(instances.ravel(), minlength=len(scene.objects) + 1)
    ground = np.bincount(scene.materials[y0:y1, x0:x1][instances == 0], minlength=len(MATERIALS))
    unit = (len(scene.image) / 112) ** 2
    named, codes = [], []
    for index, item in enumerate(scene.objects):
        area = int(seen[index + 1])
        if area >= 60 * unit and area >= 0.55 * item.area_px:
            named.append(item.attributes)
        if area >= 10 * unit:
            codes.append(object_code(item.attributes, scene.grey))
    pixels = instances.size
    return View(
        tuple(named),
        tuple(codes),
        tuple(int(m) for m in np.flatnonzero(ground > 0.12 * pixels)),
        sum(1 << int(m) for m in np.flatnonzero(ground > 0.005 * pixels)),
        scene.grey,
    )


def describe(view: View, rng: np.random.Generator, templates: Sequence[str] = ()) -> Caption:
    """Says something true about a view.

    Args:
        view: what can be seen.
        rng: decides which objects are mentioned and in what detail.
        templates: prompt templates with ``{}``; some captions use one, so that prompt ensembles read
            as sentences the model knows.
    """
    objects = list(view.named)
    if len(objects) > 1:
        rng.shuffle(objects)
        if rng.random() < 0.3:
            objects = objects[: int(rng.integers(1, len(objects)))]
    if objects and view.materials and rng.random() < 0.12:
        objects = []
    detail = rng.random()
    phrases, codes = [], []
    for look in objects:
        phrase, code = _object_phrase(look, rng, view.grey, detail)
        phrases.append(phrase)
        codes.append(code)
    words, bits = _material_words(view, rng, bool(objects))
    if not phrases and not words:
        return Caption("a photo", (), 0)
    return Caption(_sentence(phrases, words, rng, templates), tuple(codes), bits)


def _object_phrase(look: Attributes, rng: np.random.Generator, grey: bool, detail: float) -> tuple[str, int]:
    words, code = [], 0
    full = detail < 0.25
    if rng.random() < (0.95 if full else 0.5) * (1.0 if look.pattern else 0.7):
        words.append(PATTERNS[look.pattern])
        code |= 1 << (_PATTERN_BIT + look.pattern)
    if not grey and rng.random() < (0.97 if full else 0.5):
        words.append(COLOURS[look.colour])
        code |= 1 << look.colour
    if rng.random() < 0.78:
        words.append(SHAPES[look.shape])
        code |= 1 << (_SHAPE_BIT + look.shape)
    else:
        words.append(GENERIC[int(rng.choice(3, p=(0.5, 0.35, 0.15)))])
    return " ".join(words), code


def _material_words(view: View, rng: np.random.Generator, has_objects: bool) -> tuple[list[str], int]:
    if not view.materials or (has_objects and rng.random() > 0.35):
        return [], 0
    chosen = list(view.materials)
    rng.shuffle(chosen)
    if len(chosen) > 1 and rng.random() < 0.35:
        chosen = chosen[:1]
    words = []
    for material in chosen:
        name = MATERIALS[material]
        others = [text for text in SYNONYMS.get(name, ()) if not (view.grey and ("green" in text or "blue" in text))]
        words.append(others[int(rng.integers(len(others)))] if others and rng.random() < 0.18 else name)
    return words, sum(1 << material for material in chosen)


def _sentence(phrases: list[str], materials: list[str], rng: np.random.Generator, templates: Sequence[str]) -> str:
    ground = " and ".join(materials)
    style = rng.random()
    if templates and style < 0.3 and len(phrases) + len(materials) == 1:
        return templates[int(rng.integers(len(templates)))].format((phrases + materials)[0])
    bare = style > 0.85 and len(phrases) <= 1
    listed = phrases if bare else [with_article(phrase) for phrase in phrases]
    text = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}" if listed else ""
    if text and ground:
        text = f"{text} {'on' if rng.random() < 0.7 else 'and'} {ground}"
    text = text or ground
    if style < 0.62:
        text = _FRAMES[int(rng.integers(len(_FRAMES)))].format(text)
    return f"{text}." if rng.random() < 0.15 else text


def truth_table(captions: Sequence[Caption], views: Sequence[View]) -> np.ndarray:
    """Which caption is true of which image: ``(captions, images)`` bool.

    A caption is true where each object it mentions has a match among the objects that can be seen
    there, and all its materials are there.
    """
    claims = _padded([caption.codes for caption in captions], fill=0)
    facts = _padded([view.true_codes for view in views], fill=0)
    matched = (claims[:, None, :, None] & facts[None, :, None, :]) == claims[:, None, :, None]
    ground = np.array([caption.materials for caption in captions], np.int64)[:, None]
    present = np.array([view.true_materials for view in views], np.int64)[None]
    mentions = np.array([bool(caption.codes) for caption in captions])[:, None]
    objects_fit = matched.any(-1).all(-1) & (~mentions | np.array([bool(view.true_codes) for view in views])[None])
    return objects_fit & ((ground & present) == ground)


def _padded(rows: Sequence[tuple[int, ...]], fill: int) -> np.ndarray:
    table = np.full((len(rows), max(1, max(map(len, rows), default=1))), fill, np.int64)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table


@lru_cache(maxsize=1)
def openai_templates() -> tuple[str, ...]:
    """The 80 prompt templates of CLIP (Radford et al., 2021, appendix), as format strings."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


@lru_cache(maxsize=1)
def caption_words() -> tuple[str, ...]:
    """Every string that captions are put together from: what a tokenizer must know to train on them."""
    synonyms = [text for texts in SYNONYMS.values() for text in texts]
    glue = ["a photo", "a an on and , .", *_FRAMES, *GENERIC]
    return (*SHAPES, *COLOURS, *PATTERNS, *MATERIALS, *synonyms, *glue, *openai_templates())
