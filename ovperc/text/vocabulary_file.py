"""Reading vocabulary files: JSON, YAML, or one class per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_YAML_SUFFIXES = (".yaml", ".yml")
_TABLE_SUFFIXES = (".csv", ".tsv")
_SUFFIXES = (".json", *_YAML_SUFFIXES, ".txt", *_TABLE_SUFFIXES)
_YOLO_KEYS = frozenset({"nc", "path", "test", "train", "val"})


class VocabularyError(ValueError):
    """A vocabulary file that cannot be read; the message names the file and, where it is known, the line."""


@dataclass(frozen=True)
class FileEntry:
    """One class as a file has it.

    Attributes:
        words: a line of a text file, ``"name"``, ``"name|synonym"``, ``["name", "synonym"]``, or a pair
            ``(name, synonyms)`` of a mapping.
        where: for messages, such as ``line 3``.
    """

    words: Any
    where: str


def is_vocabulary_path(text: str) -> bool:
    """Whether a string of words is a file path, judged by its suffix only."""
    return text.strip().lower().endswith(_SUFFIXES) and "\n" not in text


def is_text_file(path: Path) -> bool:
    """Whether a vocabulary file has one class per line."""
    return path.suffix.lower() not in (".json", *_YAML_SUFFIXES)


def read_vocabulary_file(path: Path) -> list[FileEntry]:
    """The classes of a file; of a text file, its lines (empty ones and ``#`` comments dropped).

    A YAML file of a YOLO data set is read by its ``names``.

    Raises:
        VocabularyError: the file is missing, is not text, cannot be parsed, repeats a key, holds something else than
            a list of class names or a mapping of names to synonyms, or is a table.
    """
    try:
        entries = list(_entries(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, VocabularyError):
            raise
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise VocabularyError(f"cannot read the vocabulary file {str(path)!r}: {reason}") from error
    if not entries:
        raise VocabularyError(f"the vocabulary file {str(path)!r} names no class; write at least one")
    return entries


def _entries(path: Path) -> Iterator[FileEntry]:
    suffix = path.suffix.lower()
    if suffix in _TABLE_SUFFIXES:
        raise VocabularyError(
            f"{str(path)!r} is a table, and its columns may mean anything; write one class per line into a .txt file, "
            "with synonyms after '|'"
        )
    text = _text_of(path)
    if suffix in _YAML_SUFFIXES:
        return _yaml_entries(text, path)
    if suffix == ".json":
        return _json_entries(json.loads(text, object_pairs_hook=_pairs), path)
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return (FileEntry(line, f"line {number}") for number, line in lines if line and not line.startswith("#"))


def _text_of(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, RuntimeError, ValueError) as error:
        raise VocabularyError(f"cannot read the vocabulary file {str(path)!r}: {_reason(error)}") from error


def _json_entries(content: Any, path: Path) -> Iterator[FileEntry]:
    if isinstance(content, dict):
        content = list(content.items())
    elif not isinstance(content, list):
        raise _wrong_form(path, type(content).__name__)
    return (FileEntry(item, f"class {number}") for number, item in enumerate(content, start=1))


def _yaml_entries(text: str, path: Path) -> Iterator[FileEntry]:
    """Entries from the nodes, not from values: YAML would make truths, dates and numbers of plain words."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if isinstance(root, yaml.MappingNode):
        return _yaml_mapping(_yolo_names(root), path)
    if isinstance(root, yaml.SequenceNode):
        return (FileEntry(_yaml_words(item, path), _line(item)) for item in root.value)
    raise _wrong_form(path, "NoneType" if root is None else "one value")


def _yaml_mapping(node: Any, path: Path) -> Iterator[FileEntry]:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return (FileEntry(_yaml_words(item, path), _line(item)) for item in node.value)
    numbered = all(key.tag.endswith(":int") for key, _ in node.value)
    if numbered and all(isinstance(value, yaml.ScalarNode) for _, value in node.value):
        ordered = sorted(node.value, key=lambda pair: int(pair[0].value))
        return (FileEntry(_yaml_words(value, path), _line(value)) for _, value in ordered)
    pairs = [(_yaml_word(key, path), value) for key, value in node.value]
    _pairs([(name, None) for name, _ in pairs])
    return (FileEntry((name, _yaml_words(value, path)), _line(value)) for name, value in pairs)


def _yolo_names(root: Any) -> Any:
    """The node of class names of a YOLO data set's file; of another file its root."""
    fields = {key.value: value for key, value in root.value if isinstance(key.value, str)}
    return fields["names"] if "names" in fields and _YOLO_KEYS & set(fields) else root


def _yaml_words(node: Any, path: Path) -> Any:
    """A word, a list of words, or None."""
    import yaml

    if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
        return [_yaml_word(item, path) for item in node.value]
    return None if node.tag.endswith(":null") else _yaml_word(node, path)


def _yaml_word(node: Any, path: Path) -> str:
    import yaml

    if not isinstance(node, yaml.ScalarNode):
        raise VocabularyError(f"{str(path)!r}, {_line(node)}: expected a word; got a {node.id}")
    if not node.tag.endswith(":str"):
        read_as = {"bool": "true or false", "timestamp": "a date", "int": "a number", "float": "a number"}
        tag = node.tag.rpartition(":")[2]
        raise VocabularyError(
            f"{str(path)!r}, {_line(node)}: YAML reads {node.value[:80]!r} as {read_as.get(tag, tag)}; quote it"
        )
    return node.value


def _line(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"


def _wrong_form(path: Path, found: str) -> VocabularyError:
    return VocabularyError(f"{str(path)!r} must hold a list of class names or a dict of name: [synonyms]; got {found}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict that rejects repeated keys, which the parsers would silently drop."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the class {key!r} is written twice; merge the two")
        content[key] = value
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file (relative paths start from the current folder)"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return getattr(error, "strerror", None) or str(error)
