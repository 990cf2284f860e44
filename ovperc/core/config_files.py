"""Finding and reading config files: by path, or by name in the shipped ``configs/``."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ovperc.core.naming import suggest


def config_root() -> Path:
    """The shipped ``configs/`` directory: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "configs"
    return checkout if (checkout / "runtime.py").is_file() else package / "_configs"


def find_config(name: str | Path, folder: str) -> Path:
    """The file of a config.

    Args:
        name: a path to a ``.py`` file, or the name of a file in ``configs/FOLDER`` (dashes count as underscores).
        folder: ``methods`` or ``train``.

    Raises:
        FileNotFoundError: no such config; near matches are offered.
    """
    path = Path(name).expanduser()
    if path.suffix == ".py":
        if path.is_file():
            return path
        if path.parent.is_dir():
            siblings = [str(file) for file in path.parent.glob("*.py")]
            raise FileNotFoundError(f"config file not found: {path}; {suggest(str(path), siblings)}")
        raise FileNotFoundError(f"config file not found: {path}")
    shipped = {file.stem: file for file in (config_root() / folder).glob("*.py")}
    key = str(name).replace("-", "_")
    if key not in shipped:
        raise FileNotFoundError(f"no config {str(name)!r} in configs/{folder}; {suggest(key, shipped)}")
    return shipped[key]


def config_title(path: Path) -> str:
    """First line of a config file's docstring, read without running the file."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def parse_override(text: str) -> tuple[str, Any]:
    """Reads ``a.b=VALUE``; the value is a Python literal where it reads as one, else text."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"an override is written key=value or key.sub=value; got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        words = {"true": True, "false": False, "none": None}
        return key, words.get(value.lower(), value)


def parse_overrides(texts: Sequence[str] | Mapping[str, Any] | None) -> dict[str, Any]:
    """Overrides of the command line as dotted key -> value; a mapping passes through."""
    if isinstance(texts, Mapping):
        return dict(texts)
    return dict(parse_override(text) for text in texts or ())
