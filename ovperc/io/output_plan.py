"""The output files of a run, checked for conflicts before the first image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovperc.io.image_sources import ImageSource
from ovperc.io.ownership import is_own
from ovperc.io.writers.base import Writer

_LISTED = 3


@dataclass(frozen=True)
class _Owner:
    """Owner of a file: a format, and an image or the run."""

    format: str
    image: str

    def conflict(self, other: _Owner, file: Path) -> str:
        """Explains why two owners cannot share a file."""
        if self.image != other.image:
            return f"{file} is needed for {self.image} and for {other.image}; rename one of them, or use separate runs"
        return f"{file} is written by the formats {self.format} and {other.format}; choose one of them"


class OutputNameError(ValueError):
    """Output files of a run collide with existing files or with each other; the message lists them."""


def check_output_names(
    folder: Path, sources: Sequence[ImageSource], writers: Mapping[str, Writer], overwrite: bool = False
) -> None:
    """Raises if a run would overwrite an input, a user's file or one of its own files.

    Args:
        folder: output folder; need not exist.
        sources: input images.
        writers: output writers by format.
        overwrite: allow a user's files, except inputs, to be replaced.

    Raises:
        OutputNameError: a file would be overwritten.
    """
    inputs = {identity: source.name for source in sources if (identity := _identity(Path(source.name).expanduser()))}
    planned: dict[str, _Owner] = {}
    problems: list[str] = []
    for name, owner in _names(sources, writers):
        other = planned.setdefault(name.casefold(), owner)
        file = folder / name
        if other != owner:
            problems.append(other.conflict(owner, file))
        elif _identity(file) in inputs:
            problems.append(f"{file} is an input and would be replaced; choose another --out")
        elif os.path.lexists(file) and not overwrite and not is_own(file):
            problems.append(f"{file} exists and was not written by ovperc; choose another --out or pass --overwrite")
    if problems:
        more = f"\n(and {len(problems) - _LISTED} more)" if len(problems) > _LISTED else ""
        raise OutputNameError("\n".join(problems[:_LISTED]) + more)


def own_outputs(folder: Path, paths: Sequence[Path]) -> set[Path]:
    """Paths in ``folder`` written by ovperc: results of earlier runs, not inputs of this one."""
    root = folder.expanduser().resolve()
    return {path for path in paths if root in path.resolve().parents and is_own(path)}


def _names(sources: Sequence[ImageSource], writers: Mapping[str, Writer]) -> Iterator[tuple[str, _Owner]]:
    """Maps every output file of the run to its owner."""
    for label, writer in writers.items():
        for name in writer.run_files:
            yield name, _Owner(label, "the run")
        for source in sources:
            for name in writer.image_files(source.stem):
                yield name, _Owner(label, source.name)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of an existing file, the same for all of its links."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
