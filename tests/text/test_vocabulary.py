"""Vocabularies: every form of words, background policies, and the errors."""

import json

import pytest
import yaml

from ovperc.core.structures import Background
from ovperc.text.vocabulary import ClassEntry, Vocabulary, parse_background

EXPECTED = (ClassEntry("red star"), ClassEntry("grass", ("grass", "lawn")))


@pytest.mark.parametrize(
    "words",
    [
        ["red star", "grass|lawn"],
        ("red star", ["grass", "lawn"]),
        [ClassEntry("red star"), "grass | lawn "],
        "red star, grass|lawn",
        " red   star ,grass|lawn,",
        "red star\ngrass|lawn",
        {"red star": [], "grass": ["lawn"]},
        {"red star": None, "grass": "lawn"},
        {"red star": ["red star"], "grass": ["Grass", "lawn", "LAWN"]},
        Vocabulary(EXPECTED),
    ],
)
def test_every_form_of_words_gives_the_same_classes(words):
    parsed = Vocabulary.parse(words)
    assert parsed.names == ("red star", "grass")
    assert [tuple(prompt.lower() for prompt in entry.prompts) for entry in parsed.classes] == [
        entry.prompts for entry in EXPECTED
    ]


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
@pytest.mark.parametrize("content", [["red star", "grass|lawn"], {"red star": [], "grass": ["lawn"]}])
def test_files_hold_a_list_or_a_dict(tmp_path, suffix, content):
    path = tmp_path / f"words{suffix}"
    path.write_text(json.dumps(content) if suffix == ".json" else yaml.safe_dump(content, sort_keys=False))
    assert Vocabulary.parse(path).classes == EXPECTED
    assert Vocabulary.parse(str(path)).classes == EXPECTED


def test_text_files_keep_commas_in_names_unless_asked(tmp_path):
    path = tmp_path / "ade847.txt"
    path.write_text("\ufeffbuilding, edifice\n\n# a comment\nsky;cloud ; heaven;\ntv|screen\n", encoding="utf-8")
    entries = Vocabulary.parse(path).classes
    assert [entry.prompts for entry in entries] == [
        ("building, edifice",),
        ("sky", "cloud", "heaven"),
        ("tv", "screen"),
    ]
    path.write_text("building, edifice\nsky\n")
    assert Vocabulary.parse(path, separator=", ").classes[0].prompts == ("building", "edifice")


def test_a_name_may_be_searched_by_other_words_only():
    vocabulary = Vocabulary((ClassEntry("boat", ("ship",)), ClassEntry("tree")))
    assert vocabulary.names == ("boat", "tree")
    assert vocabulary.prompts == ("ship", "tree")


def test_labels_prompts_and_owners_line_up():
    plain = Vocabulary.parse("star, grass|lawn|turf")
    assert (plain.names, plain.owners) == (("star", "grass"), (0, 1, 1, 1))
    words = Vocabulary.parse("star, grass|lawn", background=["sky", "wall"])
    assert words.names == ("background", "star", "grass")
    assert words.prompts == ("sky", "wall", "star", "grass", "lawn")
    assert words.owners == (0, 0, 1, 2, 2)
    threshold = Vocabulary.parse("star", background=0.4)
    assert (threshold.names, threshold.prompts, threshold.owners) == (("background", "star"), ("star",), (1,))
    assert len(threshold) == 1 and len(words) == 2


def test_one_class_and_a_class_named_background_are_fine():
    assert Vocabulary.parse("star").owners == (0,)
    named = Vocabulary.parse({"background": ["sky", "wall"], "star": []})
    assert named.names == ("background", "star")
    assert not named.background.enabled


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Background()),
        ("none", Background()),
        (0.3, Background(threshold=0.3)),
        ("0.3", Background(threshold=0.3)),
        ("sky, wall|wall", Background(("sky", "wall"))),
        (["sky", "wall"], Background(("sky", "wall"))),
        ("0.3, sky", Background(("sky",), 0.3)),
        ({"words": "sky", "threshold": 0.3}, Background(("sky",), 0.3)),
        (Background(("sky",), 0.3), Background(("sky",), 0.3)),
    ],
)
def test_background_forms(value, expected):
    assert parse_background(value) == expected


def test_a_given_vocabulary_keeps_its_background_unless_told():
    vocabulary = Vocabulary.parse("star", background=0.3)
    assert Vocabulary.parse(vocabulary) is vocabulary
    assert not Vocabulary.parse(vocabulary, background="none").background.enabled


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ("", ValueError, "words are empty"),
        ([], ValueError, "words are empty"),
        ({}, ValueError, "words are empty"),
        ("star,,grass", ValueError, "class name is empty"),
        (["star", "  "], ValueError, "class name is empty"),
        ("star; grass", ValueError, "';'"),
        (["Red  star", "grass", "red Star"], ValueError, r"class 3 'red Star' repeats class 1 'Red star'"),
        ({"grass": ["lawn"], "park": ["Lawn"]}, ValueError, r"'Lawn' belongs to both 'grass' and 'park'"),
        (["grass|lawn", "lawn"], ValueError, r"'lawn' belongs to both 'grass' and 'lawn'"),
        ([3, "star"], TypeError, "name\\|synonym"),
        ([["star", 3]], TypeError, r"prompt of class 'star' must be a string; got 3"),
        ({True: []}, TypeError, "quote words such as no"),
        ({"star": 3}, TypeError, "synonyms of class 'star'"),
        (3.5, TypeError, "float"),
        (None, TypeError, "NoneType"),
    ],
)
def test_bad_words(words, error, match):
    with pytest.raises(error, match=match):
        Vocabulary.parse(words)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("missing.json", None, "no such file"),
        ("missing.txt", None, "no such file"),
        ("words.json", "{not json", "cannot read"),
        ("words.json", "3", "got int"),
        ("words.json", '{"a": ["b"], "a": ["c"]}', "'a' is written twice"),
        ("words.yaml", "a: [b\n", "cannot read"),
        ("words.yaml", "a: [b]\na: [c]\n", "'a' is written twice"),
        ("words.yaml", "", "got NoneType"),
        ("words.txt", "# nothing\n", "names no class"),
        ("words.txt", b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_bad_files(tmp_path, name, content, match):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=match):
        Vocabulary.parse(path)


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (1.5, ValueError, r"\[0, 1\]"),
        (True, TypeError, "background must be"),
        (["sky", 3j], TypeError, "background word must be a string"),
        ("sky,,wall", ValueError, "background word is empty"),
        ("0.1, 0.2", ValueError, "one threshold"),
        ({"word": "sky"}, ValueError, "'words' and 'threshold'"),
    ],
)
def test_bad_backgrounds(value, error, match):
    with pytest.raises(error, match=match):
        parse_background(value)


def test_background_may_not_clash_with_the_classes():
    with pytest.raises(ValueError, match="a class named 'background' and a background policy"):
        Vocabulary.parse("Background, star", background=0.5)
    with pytest.raises(ValueError, match="'sky' belongs to both 'background' and 'sky'"):
        Vocabulary.parse("sky, star", background="Sky")
