"""Checksums of files and of lists of names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_PIECE_BYTES = 2**20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def lines_sha256(lines: Iterable[str]) -> str:
    """SHA-256 of lines in their order, in hexadecimal."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
