"""Names of all files of a run, checked before the first image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovperc.io.images import ImageSource
from ovperc.io.ownership import is_own
from ovperc.io.writers.base import Writer

_LISTED = 3


@dataclass(frozen=True)
class _Owner:
    """What a file belongs to: a format, and an image or the run."""

    format: str
    image: str

    def conflict(self, other: _Owner, file: Path) -> str:
        """Why both cannot have a file."""
        if self.image != other.image:
            return f"{file} is needed for {self.image} and for {other.image}; rename one of them or run them apart"
        return f"{file} is written by the formats {self.format} and {other.format}; choose one of them"


class OutputNameError(ValueError):
    """Files that a run would write equal others; the message names them."""


def check_output_names(
    folder: Path, sources: Sequence[ImageSource], writers: Mapping[str, Writer], overwrite: bool = False
) -> None:
    """Refuses a run that would replace an input, a file of the user, or a file of its own.

    Args:
        folder: that receives the files; need not exist.
        sources: images of the run.
        writers: of the run, by format.
        overwrite: allow files of the user that are no inputs to be replaced.

    Raises:
        OutputNameError: there is such a file.
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
    """The paths inside ``folder`` that ovperc wrote: results of earlier runs, not images of this one."""
    root = folder.expanduser().resolve()
    return {path for path in paths if root in path.resolve().parents and is_own(path)}


def _names(sources: Sequence[ImageSource], writers: Mapping[str, Writer]) -> Iterator[tuple[str, _Owner]]:
    """Every file of the run and what it belongs to."""
    for label, writer in writers.items():
        for name in writer.run_files:
            yield name, _Owner(label, "the run")
        for source in sources:
            for name in writer.image_files(source.stem):
                yield name, _Owner(label, source.name)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of an existing file, the same for all of its names."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
