"""Scores of an unfinished evaluation on disk: grids, image scores and masks, to go on from and to make maps again.

Each process of each attempt writes parts of its own, whole or not at all. What has been written is not kept in memory.
"""

from __future__ import annotations

import shutil
import time
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovperc.core.atomic import atomic_write

_MOST_WAITING = 256
_MOST_OPEN = 4


@dataclass(frozen=True, eq=False)
class StoredScore:
    """What is kept of one image.

    Attributes:
        grid: ``(h, w)`` or ``(K, h, w)`` float32.
        image_score: of the whole image.
        mask: ``(H, W)`` bool at the size of evaluation; None where the set has no masks.
    """

    grid: np.ndarray
    image_score: float
    mask: np.ndarray | None


class GridStore:
    """A folder of scored images.

    Args:
        folder: of this evaluation and no other.
        every_s: seconds between two parts; 0 writes one for each image.
    """

    def __init__(self, folder: Path, every_s: float = 30.0) -> None:
        self.folder, self.every_s = folder, every_s
        self._waiting: dict[str, np.ndarray] = {}
        self._indices: set[int] = set()
        self._written = time.monotonic()
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._known: set[Path] = set()
        self._where: dict[int, Path] = {}
        self.refresh()

    def __contains__(self, index: int) -> bool:
        return index in self._where or index in self._indices

    def __len__(self) -> int:
        return len(self._where.keys() | self._indices)

    def add(self, index: int, score: StoredScore) -> None:
        """Keeps one image; writes a part when it is due."""
        self._waiting[f"{index}.grid"] = np.ascontiguousarray(score.grid, np.float32)
        self._waiting[f"{index}.image"] = np.array([score.image_score], np.float64)
        if score.mask is not None:
            packed = zlib.compress(np.packbits(score.mask).tobytes(), 1)
            self._waiting[f"{index}.mask"] = np.frombuffer(packed, np.uint8)
            self._waiting[f"{index}.hw"] = np.array(score.mask.shape, np.int64)
        self._indices.add(index)
        if len(self._indices) >= _MOST_WAITING or time.monotonic() - self._written >= self.every_s:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        from safetensors.numpy import save_file

        if self._indices:
            path = self.folder / f"part-{uuid.uuid4().hex}.safetensors"
            with atomic_write(path) as (temporary,):
                save_file(self._waiting, temporary)
            self._where |= dict.fromkeys(self._indices, path)
        self._waiting, self._indices = {}, set()
        self._written = time.monotonic()

    def refresh(self) -> None:
        """Looks for parts that other processes, shards or attempts have written.

        Raises:
            ValueError: a part is damaged.
        """
        for path in sorted(self.folder.glob("part-*.safetensors")):
            if path not in self._known:
                self._known.add(path)
                names = self._file(path).keys()
                self._where |= {int(name.split(".")[0]): path for name in names if name.endswith(".image")}

    def _file(self, path: Path) -> Any:
        from safetensors import SafetensorError, safe_open

        if path not in self._open:
            try:
                self._open[path] = safe_open(path, "numpy")
            except SafetensorError as error:
                raise ValueError(f"{path}: {error}; delete {self.folder} to score all images again") from error
        self._open.move_to_end(path)
        if len(self._open) > _MOST_OPEN:  # what has been read of an open file stays in memory
            self._open.popitem(last=False)
        return self._open[path]

    def load(self, index: int) -> StoredScore:
        """What was kept of an image; reads it from disk."""
        if index in self._indices:
            self.flush()
        file = self._file(self._where[index])
        mask = None
        if f"{index}.hw" in file.keys():  # noqa: SIM118 (not a mapping)
            height, width = file.get_tensor(f"{index}.hw").tolist()
            bits = np.frombuffer(zlib.decompress(file.get_tensor(f"{index}.mask").tobytes()), np.uint8)
            mask = np.unpackbits(bits, count=height * width).view(bool).reshape(height, width)
        return StoredScore(file.get_tensor(f"{index}.grid"), float(file.get_tensor(f"{index}.image")[0]), mask)

    def image_scores(self, indices: Iterable[int]) -> np.ndarray:
        """Image scores in the order asked for, float64."""
        self.flush()
        return np.array([self._file(self._where[i]).get_tensor(f"{i}.image")[0] for i in indices], np.float64)

    def clear(self) -> None:
        """Deletes the folder."""
        self._open.clear()
        self._known.clear()
        self._where.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def resize_mask(mask: np.ndarray, size_px: int | None) -> np.ndarray:
    """A mask at the size of evaluation, as the published protocols do it: bilinear by Pillow, then above one half.

    Args:
        mask: ``(H, W)`` bool.
        size_px: side of the square; None keeps the size.
    """
    if size_px is None or mask.shape == (size_px, size_px):
        return mask
    image = Image.fromarray(mask.astype(np.uint8) * 255).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(image) / 255 > 0.5
