"""Vocabulary files as people and strangers write them: classes, or a VocabularyError with file and line."""

import random

import pytest

from ovperc.text.vocabulary import Vocabulary
from ovperc.text.vocabulary_file import VocabularyError

WRONG = {
    "deep.json": ("[" * 100_000, "nested too deeply"),
    "deep.yaml": ("[" * 5_000, "nested too deeply"),
    "deeper.json": ('["a", [["b"]]]', r"class 2: .*must be a string; got \['b'\]"),
    "object.json": ('["a", {"b": 1}]', r"class 2: a class must be"),
    "number.json": ('{"a": ["b"], "c": 3}', r"class 2: synonyms of class 'c'"),
    "empty.json": ('["a", " "]', r"class 2: a class name is empty"),
    "null.json": ('["a", null]', r"class 2: a class must be"),
    "truth.yaml": ("- grass\n- no\n", r"line 2: YAML reads 'no' as true or false; quote it"),
    "truth_key.yaml": ("grass: [lawn]\non: [lamp]\n", r"line 2: YAML reads 'on' as true or false"),
    "date.yaml": ("- grass\n\n- 2024-01-01\n", r"line 3: YAML reads '2024-01-01' as a date"),
    "no_date.yaml": ("- 2024-99-99\n- 12\n", r"line \d: YAML reads .* as a"),
    "number.yaml": ("a: [b, 3.5]\n", r"line 1: YAML reads '3.5' as a number"),
    "nested.yaml": ("a:\n  b:\n    c: d\n", r"line 2: expected a word; got a mapping"),
    "merge.yaml": ("a: &x [b]\n<<: *x\n", r"line 2: YAML reads '<<' as merge"),
    "tag.yaml": ("- !!python/object/apply:os.system ['true']\n", r"line 1|expected a word"),
    "tagged.yaml": ("- !!python/name:os.system x\n", r"line 1: YAML reads"),
    "circle.yaml": ("- &a [*a]\n", r"line 1: expected a word; got a sequence|cannot read"),
    "two.yaml": ("- a\n---\n- b\n", "cannot read"),
    "empty.yaml": ("- a\n-\n", r"line 2: a class must be"),
    "bar.txt": ("grass\n\n# comment\n|\n", r"line 4: "),
    "words.csv": ("id,name\n1,grass\n", r"is a table.*\.txt"),
    "words.tsv": ("grass\n", r"is a table"),
    "utf16.txt": ("grass".encode("utf-16"), "not UTF-8"),
    "null.txt": (b"\xff\x00", "not UTF-8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_named_with_the_line(tmp_path, name):
    content, message = WRONG[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for words in (path, str(path)):
        with pytest.raises(VocabularyError, match=message) as told:
            Vocabulary.parse(words)
        assert name in str(told.value) and len(str(told.value)) < 600


@pytest.mark.parametrize("path", ["~nosuchuser/a.txt", "a" * 5000 + ".json", "nul\0.yaml"])
def test_paths_that_cannot_be_opened(path):
    with pytest.raises(VocabularyError, match="cannot read the vocabulary file"):
        Vocabulary.parse(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.txt", b"\xef\xbb\xbfred star\r\ngrass|lawn\r\n"),
        ("bom.json", b'\xef\xbb\xbf["red star", "grass|lawn"]'),
        ("bom.yaml", b"\xef\xbb\xbf- red star\n- [grass, lawn]\n"),
        ("map.yaml", b"red star:\ngrass: lawn\n"),
        ("quoted.yaml", b"'red star': []\n\"grass\": ['lawn']\n"),
        ("yolo.yaml", b"path: /data\ntrain: images\nval: images\nnc: 2\nnames: ['red star', 'grass|lawn']\n"),
        ("yolo8.yaml", b"train: images/train\nnames:\n  1: grass|lawn\n  0: red star\n"),
    ],
)
def test_forms_of_one_vocabulary(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert Vocabulary.parse(tmp_path / name) == Vocabulary.parse(["red star", "grass|lawn"])


def test_words_that_yaml_would_change_are_kept_when_quoted(tmp_path):
    (tmp_path / "a.yaml").write_text("- 'no'\n- \"2024-01-01\"\n- '12'\n")
    assert Vocabulary.parse(tmp_path / "a.yaml").names == ("no", "2024-01-01", "12")


@pytest.mark.parametrize("suffix", ["txt", "json", "yaml"])
def test_random_files_are_classes_or_errors_of_values(tmp_path, suffix):
    chance = random.Random(0)
    path = tmp_path / f"words.{suffix}"
    pieces = ["grass", "red star", "|", ";", ",", "\n", "- ", ": ", "[", "]", "{", "}", '"', "'", "&a", "*a", "!!", "#"]
    pieces += ["\u00e9", "\u0000", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "no", "1", "\t"]
    for _ in range(250):
        path.write_text("".join(chance.choices(pieces, k=chance.randint(0, 12))), encoding="utf-8")
        try:
            assert len(Vocabulary.parse(path)) >= 1
        except (ValueError, TypeError) as error:
            assert str(error)
