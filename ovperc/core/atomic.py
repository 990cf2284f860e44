"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Temporary files beside the wanted ones, moved into place together when the block ends well.

    On any error or interrupt inside the block the temporary files are removed and what was on disk before
    stays. Missing folders are made. The temporary names keep the suffix, for writers that go by it.

    Args:
        paths: wanted files; the last one is put in place last, so let it be the one that names the others.

    Yields:
        One temporary path per wanted file, to be written by the block.

    Raises:
        OSError: a folder cannot be made or written to, or the disk is full.
    """
    wanted = [Path(path) for path in paths]
    temporary = tuple(path.with_name(f".{path.stem[:40]}-{uuid.uuid4().hex}{path.suffix}") for path in wanted)
    try:
        for path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for source, path in zip(temporary, wanted, strict=True):
            os.replace(source, path)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


@contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """A hidden folder inside ``target`` whose files move into ``target`` when the block ends well.

    On any error or interrupt in the block nothing of it stays behind, so several files that belong
    together appear together.

    Raises:
        OSError: ``target`` cannot be made or written.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target) as folder:
        yield Path(folder)
        moved: list[Path] = []
        try:
            for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                place = target / file.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, place)
                moved.append(place)
        except BaseException:
            for file in moved:
                file.unlink(missing_ok=True)
            raise
