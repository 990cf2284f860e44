"""The texts that photo-mini's text tower is taught, split into those it trains on and those kept to measure it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ovperc.data.photo.class_words import class_names
from ovperc.data.photo.phrases import compose_captions, compose_phrases
from ovperc.data.photo.wordnet import Lemma, find_wordnet, read_adjectives, read_nouns

_CLASS_COUNT = 20
"""Class names are drawn into phrases as often as words with so many tags in WordNet's corpus."""


@dataclass(frozen=True)
class WordSpace:
    """Texts by use; none of ``held_words`` and ``held_phrases`` is a training text.

    Attributes:
        class_names: names of ImageNet's and COCO's classes.
        words: nouns and adjectives.
        phrases: an attribute or two and a noun.
        captions: caption-like sentences.
        held_words, held_phrases: for measuring.
    """

    class_names: tuple[str, ...]
    words: tuple[str, ...]
    phrases: tuple[str, ...]
    captions: tuple[str, ...]
    held_words: tuple[str, ...]
    held_phrases: tuple[str, ...]


def make_word_space(
    wordnet: str | Path | None = None,
    phrases: int = 2_500,
    captions: int = 3_000,
    held_words: int = 2000,
    held_phrases: int = 500,
    rare_step: int = 4,
    seed: int = 0,
) -> WordSpace:
    """Collects and composes the texts; the same seed gives the same texts.

    Words that WordNet's corpus shows are all taken, of the other concrete nouns every ``rare_step``-th.

    Args:
        wordnet: folder of WordNet's database files, as for :func:`find_wordnet`.
        phrases, captions: how many to compose for training.
        held_words, held_phrases: how many to keep for measuring. Held-out words are concrete nouns; phrases are new
            combinations of training words.
        rare_step: every so many of the concrete nouns that the corpus never shows are training words; phrases and
            captions draw from all.
        seed: decides what is held out and composed.
    """
    folder = find_wordnet(wordnet)
    rng = np.random.default_rng(seed)
    classes = class_names()
    nouns = tuple(noun for noun in read_nouns(folder) if noun.concrete or noun.count)
    kept_out = _hold_out(nouns, classes, held_words, rng)
    nouns = tuple(noun for noun in nouns if noun.name not in kept_out)
    rare = [noun.name for noun in nouns if not noun.count][::rare_step]
    words = [
        *(noun.name for noun in nouns if noun.count),
        *rare,
        *(word.name for word in read_adjectives(folder) if word.count),
    ]
    nouns = _with_classes(nouns, classes)
    composed = compose_phrases(nouns, phrases + held_phrases, rng)
    return WordSpace(
        classes,
        tuple(dict.fromkeys(words)),
        composed[:phrases],
        compose_captions(nouns, captions, rng),
        tuple(sorted(kept_out)),
        composed[phrases:],
    )


def _hold_out(nouns: Sequence[Lemma], classes: Sequence[str], count: int, rng: np.random.Generator) -> set[str]:
    free = sorted({noun.name for noun in nouns if noun.concrete} - set(classes))
    return set(rng.choice(free, count, replace=False).tolist())


def _with_classes(nouns: Sequence[Lemma], classes: Sequence[str]) -> tuple[Lemma, ...]:
    table = {noun.name: noun for noun in nouns}
    for name in classes:
        known = table.get(name, Lemma(name, 0, True))
        table[name] = replace(known, count=max(known.count, _CLASS_COUNT), concrete=True)
    return tuple(table.values())
