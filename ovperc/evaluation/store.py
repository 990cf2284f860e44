"""Per-image results of an evaluation on disk, for resuming and aggregation.

Each process of each attempt atomically writes its own immutable parts. Resumed runs, several processes and several
machines (shards) can therefore share a folder, and an image scored twice counts once. Written results are not kept in
memory.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ovperc.core.atomic import atomic_write

_ROW = "row"
_MOST_WAITING = 256
_MOST_OPEN = 4


@dataclass(frozen=True, eq=False)
class StoredResult:
    """Stored result of an image.

    Attributes:
        arrays: name -> array of any shape.
        row: JSON-serialisable values.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    row: Any = None


@dataclass(frozen=True)
class _Part:
    """An open part file, with the names of each image's arrays."""

    file: Any
    names: Mapping[int, tuple[str, ...]]

    @classmethod
    def open(cls, path: Path) -> _Part:
        file = safe_open(path, "numpy")
        names: dict[int, list[str]] = {}
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            index, _, name = key.partition("/")
            names.setdefault(int(index), []).append(name)
        return cls(file, {index: tuple(found) for index, found in names.items()})

    def load(self, index: int) -> StoredResult:
        arrays = {name: self.file.get_tensor(f"{index}/{name}") for name in self.names[index]}
        return StoredResult(arrays, json.loads(arrays.pop(_ROW).tobytes()))


class PartStore:
    """A folder of per-image results.

    Args:
        folder: folder of this evaluation only.
        every_s: seconds between two parts; 0 writes one per image.

    Raises:
        ValueError: a part is corrupt.
    """

    def __init__(self, folder: Path, every_s: float = 30.0) -> None:
        self.folder, self.every_s = folder, every_s
        self._waiting: dict[int, StoredResult] = {}
        self._written = time.monotonic()
        self._places: dict[int, Path] = {}
        self._known: set[Path] = set()
        self._open: OrderedDict[Path, _Part] = OrderedDict()
        self.refresh()

    def __contains__(self, index: int) -> bool:
        return index in self._places or index in self._waiting

    def __len__(self) -> int:
        return len(self._places.keys() | self._waiting.keys())

    def add(self, index: int, result: StoredResult) -> None:
        """Adds the result of an image; writes a part when due."""
        self._waiting[index] = result
        if len(self._waiting) >= _MOST_WAITING or time.monotonic() - self._written >= self.every_s:
            self.flush()

    def flush(self) -> None:
        """Writes pending results."""
        if self._waiting:
            path = self.folder / f"part-{uuid.uuid4().hex}.safetensors"
            with atomic_write(path) as (temporary,):
                save_file(dict(self._tensors()), temporary)
            self._places |= dict.fromkeys(self._waiting, path)
            self._known.add(path)
        self._waiting = {}
        self._written = time.monotonic()

    def _tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        for index, result in self._waiting.items():
            row = np.frombuffer(json.dumps(result.row).encode(), np.uint8)
            for name, array in {**result.arrays, _ROW: row}.items():
                yield f"{index}/{name}", np.ascontiguousarray(array)

    def refresh(self) -> None:
        """Reads parts written by other processes, shards or attempts.

        Raises:
            ValueError: a part is corrupt.
        """
        for path in sorted(set(self.folder.glob("part-*.safetensors")) - self._known):
            self._known.add(path)
            self._places |= dict.fromkeys(self._part(path).names, path)

    def _part(self, path: Path) -> _Part:
        if path not in self._open:
            try:
                self._open[path] = _Part.open(path)
            except (SafetensorError, ValueError) as error:
                raise ValueError(f"{path}: {error}; delete {self.folder} to score all images again") from error
        self._open.move_to_end(path)
        if len(self._open) > _MOST_OPEN:  # data read from an open file stays in memory
            self._open.popitem(last=False)
        return self._open[path]

    def load(self, index: int) -> StoredResult:
        """The result of an image."""
        return self._waiting[index] if index in self._waiting else self._part(self._places[index]).load(index)

    def results(self, indices: Iterable[int]) -> Iterator[StoredResult]:
        """Results in the given order, read one at a time."""
        return (self.load(index) for index in indices)

    def clear(self) -> None:
        """Deletes the folder."""
        self._open.clear()
        self._known.clear()
        self._places.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
