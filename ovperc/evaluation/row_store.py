"""Results of an unfinished evaluation on disk, one plain row an image, to go on from."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ovperc.core.atomic import atomic_write


class RowStore:
    """A folder of rows by image; each process of each attempt writes parts of its own, whole or not at all.

    Args:
        folder: of this evaluation and no other.
        every_s: seconds between two parts; 0 writes one for each image.
    """

    def __init__(self, folder: Path, every_s: float = 30.0) -> None:
        self.folder, self.every_s = folder, every_s
        self._rows: dict[int, Any] = {}
        self._waiting: dict[int, Any] = {}
        self._read: set[Path] = set()
        self._written = time.monotonic()
        self.refresh()

    def __contains__(self, index: int) -> bool:
        return index in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, index: int, row: Mapping[str, Any]) -> None:
        """Keeps what JSON can hold of one image; writes a part when it is due."""
        self._rows[index] = self._waiting[index] = row
        if time.monotonic() - self._written >= self.every_s:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self._waiting:
            path = self.folder / f"part-{uuid.uuid4().hex}.json"
            with atomic_write(path) as (temporary,):
                temporary.write_text(json.dumps(self._waiting), encoding="utf-8")
            self._read.add(path)
        self._waiting = {}
        self._written = time.monotonic()

    def refresh(self) -> None:
        """Reads parts that other processes, shards or attempts have written.

        Raises:
            ValueError: a part is damaged.
        """
        for path in sorted(set(self.folder.glob("part-*.json")) - self._read):
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))
                self._rows |= {int(index): row for index, row in rows.items()}
            except (ValueError, AttributeError) as error:
                raise ValueError(f"{path}: {error}; delete {self.folder} to score all images again") from error
            self._read.add(path)

    def rows(self, indices: Iterable[int]) -> list[Any]:
        """Rows in the order asked for."""
        return [self._rows[index] for index in indices]

    def clear(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
