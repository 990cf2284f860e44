"""Distinguishes ovperc's output files from the user's, so that only the former are overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, PngImagePlugin

FORMAT_PREFIX = "ovperc-"
_SOFTWARE = "ovperc"
_HEAD_BYTES = 4096
_JSON_MARK = f'"format": "{FORMAT_PREFIX}'.encode()
_TEXT_MARKS = (
    f"# {FORMAT_PREFIX}".encode(),
    b"image,score,anomalous,threshold,",
)  # second: scores.csv


def png_mark() -> PngImagePlugin.PngInfo:
    """PNG metadata that marks a file as ovperc's, for Pillow's ``save(..., pnginfo=...)``."""
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", _SOFTWARE)
    return mark


def is_own(path: Path) -> bool:
    """Returns whether an existing file was written by ovperc.

    PNG files are marked in their metadata, JSON and text files in their first lines; YOLO label files are identified by
    the ``data.yaml`` of their folder, and any other file must be listed in its ``STEM.json``. Symbolic links
    belong to the user.
    """
    if path.is_symlink() or not path.is_file():
        return False
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _JSON_MARK in _head(path)
    if suffix == ".txt" and path.parent.name == "labels":
        return is_own(path.parent.parent / "data.yaml")
    if _head(path).startswith(_TEXT_MARKS) or (suffix == ".png" and _software_of(path) == _SOFTWARE):
        return True
    return is_own(path.with_suffix(".json")) and path.name in _files_of(path.with_suffix(".json"))


def same_file(path: Path, other: str | Path) -> bool:
    """Whether two paths point to the same existing file."""
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False


def check_not_source(files: Iterable[Path], source: str | None) -> None:
    """Raises if a file would overwrite the image a prediction was made from.

    Raises:
        FileExistsError: one of the files is the image.
    """
    for file in files:
        if source is not None and same_file(file, source):
            raise FileExistsError(f"{file} is the image of this prediction and would be replaced; choose another name")


def check_replaceable(files: Iterable[Path]) -> None:
    """Raises if a file not written by ovperc would be overwritten.

    Raises:
        FileExistsError: one of the files was not written by ovperc.
    """
    for file in files:
        if os.path.lexists(file) and not is_own(file):
            raise FileExistsError(f"{file} exists and was not written by ovperc; choose another name, or remove it")


def _files_of(record: Path) -> list[str]:
    """Names of the files that belong to a JSON record; its ``image`` belongs to the user."""
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [value for key, value in entries.items() if key != "image" and isinstance(value, str)]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


def _software_of(path: Path) -> str | None:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get("Software")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
