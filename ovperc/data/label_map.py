"""Label maps: from raw annotation values to evaluated labels."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

import numpy as np

from ovperc.core.errors import DataError
from ovperc.core.naming import suggest

_FORBIDDEN = -1
_RAW_VALUES = 1 << 16


class LabelRangeError(DataError):
    """An annotation contains a value that its data set does not define."""


@dataclass(frozen=True)
class LabelMap:
    """Mapping of raw annotation values to labels.

    Attributes:
        name: name of the map, for messages.
        num_labels: number of labels, ``0 .. num_labels - 1``.
        ignore_index: label of ignored pixels, outside the range of labels.
        table: ``(65536,)`` int32, raw value -> label, ``ignore_index``, or -1 for invalid values.
    """

    name: str
    num_labels: int
    ignore_index: int
    table: np.ndarray = field(repr=False, compare=False)

    @classmethod
    def of(
        cls,
        name: str,
        raw_ids: list[int | None],
        void: list[int],
        others: str = "error",
        ignore_index: int = 255,
    ) -> LabelMap:
        """Builds a map.

        Args:
            name: for messages.
            raw_ids: label -> raw value; ``None`` for a label without one.
            void: raw values of ignored pixels.
            others: meaning of all other raw values: ``error``, ``void`` or ``background`` (label 0).
            ignore_index: label of void; at least the number of labels.
        """
        fill = {"error": _FORBIDDEN, "void": ignore_index, "background": 0}
        if others not in fill:
            raise ValueError(f"others must be one of {', '.join(fill)}; got {others!r}")
        if not len(raw_ids) <= ignore_index < _RAW_VALUES:
            raise ValueError(
                f"label map {name!r}: ignore_index must be outside its {len(raw_ids)} labels; got {ignore_index}"
            )
        table = np.full(_RAW_VALUES, fill[others], dtype=np.int32)
        table[np.asarray(void, dtype=np.int64)] = ignore_index
        for label, raw in enumerate(raw_ids):
            if raw is not None:
                table[raw] = label
        table.flags.writeable = False
        return cls(name, len(raw_ids), ignore_index, table)

    @property
    def dtype(self) -> type[np.generic]:
        """The smallest dtype that holds all labels and ``ignore_index``."""
        return np.uint8 if self.ignore_index < 256 else np.uint16

    def apply(self, raw: np.ndarray, source: object = "the annotation") -> np.ndarray:
        """Maps an annotation to labels.

        Args:
            raw: ``(H, W)`` integers as read from the file.
            source: the file, for messages.

        Returns:
            ``(H, W)`` of :attr:`dtype`.

        Raises:
            LabelRangeError: a value is not defined by the data set.
        """
        if raw.ndim != 2 or not np.issubdtype(raw.dtype, np.integer):
            raise LabelRangeError(
                f"{source}: expected one channel of integers (an index image); found shape {raw.shape} of {raw.dtype}. "
                "Colour-coded copies are not supported; use the index images of the original download"
            )
        wide = raw.dtype.itemsize > 2 or np.issubdtype(raw.dtype, np.signedinteger)
        if wide and raw.size and not 0 <= int(raw.min()) <= int(raw.max()) < _RAW_VALUES:
            raise LabelRangeError(
                f"{source}: values {int(raw.min())}..{int(raw.max())} are not labels of {self.name!r}"
            )
        labels = self.table[raw]
        if labels.size and int(labels.min()) == _FORBIDDEN:
            wrong = np.unique(raw[labels == _FORBIDDEN])
            raise LabelRangeError(
                f"{source}: found {', '.join(map(str, wrong[:5].tolist()))}{', ...' if wrong.size > 5 else ''}, "
                f"which label map {self.name!r} does not define (expected {self._expected()}). "
                "Is this an annotation of another data set, or already converted?"
            )
        return labels.astype(self.dtype)

    def _expected(self) -> str:
        known = np.flatnonzero(self.table >= 0)
        return f"{known.size} numbers from {known[0]} to {known[-1]}"


def _folder() -> resources.abc.Traversable:
    return resources.files("ovperc") / "assets" / "label_maps"


def list_label_maps() -> tuple[str, ...]:
    """Names of all bundled label maps."""
    return tuple(sorted(entry.name.removesuffix(".json") for entry in _folder().iterdir()))


@cache
def load_label_map(name: str) -> LabelMap:
    """Loads a bundled label map.

    Raises:
        ValueError: there is no such map.
    """
    path = _folder() / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"unknown label map {name!r}; {suggest(name, list_label_maps())}")
    content = json.loads(path.read_text(encoding="utf-8"))
    return LabelMap.of(name, content["raw_ids"], content["void"], content["others"], content["ignore_index"])
