"""Reading vocabulary files: JSON, YAML, or one class per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SUFFIXES = (".json", ".yaml", ".yml", ".txt")


def is_vocabulary_path(text: str) -> bool:
    """Whether a string of words is a file path, judged by its suffix only."""
    return text.strip().lower().endswith(_SUFFIXES) and "\n" not in text


def read_vocabulary_file(path: Path) -> list[Any] | dict[str, Any]:
    """Reads a list or dict from a file, or the lines of a text file (without empty ones and ``#`` comments).

    Raises:
        ValueError: the file is missing, not text, cannot be parsed, repeats a key, or is not a list or dict.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the vocabulary file {str(path)!r}: {_reason(error)}") from error
    suffix = path.suffix.lower()
    if suffix not in (".json", ".yaml", ".yml"):
        lines = (line.strip() for line in text.splitlines())
        content: Any = [line for line in lines if line and not line.startswith("#")]
    else:
        content = _parse(text, path)
    if not isinstance(content, (list, dict)):
        raise ValueError(
            f"{str(path)!r} must hold a list of class names or a dict of name: [synonyms]; got {type(content).__name__}"
        )
    if not content:
        raise ValueError(f"the vocabulary file {str(path)!r} names no class; write at least one")
    return content


def _parse(text: str, path: Path) -> Any:
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text, object_pairs_hook=_pairs)
        except ValueError as error:
            raise ValueError(f"cannot read the vocabulary file {str(path)!r}: {error}") from error
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if isinstance(node, yaml.MappingNode):
            _pairs([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the vocabulary file {str(path)!r}: {error}") from error


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
