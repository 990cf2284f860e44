"""A teacher's embeddings of proposals, made once for a training set (ViLD, Gu et al., ICLR 2022, section 3.2).

A folder of ``header.json`` and numbered shards. A shard is written whole or not at all, so that a writer that was
killed goes on with the first shard that is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ovperc.core.atomic import atomic_write
from ovperc.core.checksum import lines_sha256

_FORMAT = "ovperc-teacher-1"
_HEADER = "header.json"


@dataclass(frozen=True)
class TeacherHeader:
    """What a store was made with; training refuses a store made with something else.

    Attributes:
        teacher: where the weights of the dual encoder came from.
        fingerprint: of its text encoder.
        proposals: what found the boxes.
        crop_px: side that crops were brought to.
        contexts: box sizes whose embeddings were summed.
        keep: most boxes per image.
        names: digest of the names of the images, in order.
        images: how many there are.
        shard_size: images per shard.
    """

    teacher: str
    fingerprint: str
    proposals: str
    crop_px: int
    contexts: tuple[float, ...]
    keep: int
    names: str
    images: int
    shard_size: int = 1000

    @property
    def shards(self) -> int:
        """Number of shards of a complete store."""
        return -(-self.images // self.shard_size)


@dataclass(frozen=True)
class TeacherRecord:
    """What is stored of one image.

    Attributes:
        boxes: ``(M, 4)`` float32 xyxy as shares of width and height, in ``[0, 1]``.
        scores: ``(M,)`` float32, objectness.
        features: ``(M, E)`` float32 unit rows.
    """

    boxes: Tensor
    scores: Tensor
    features: Tensor


def order_digest(names: Sequence[str]) -> str:
    """Tells sets of images apart by their names and order."""
    return lines_sha256(names)[:16]


def write_store(
    folder: str | Path,
    header: TeacherHeader,
    names: Sequence[str],
    describe: Callable[[int], TeacherRecord],
    advance: Callable[[int], None] = lambda images: None,
) -> int:
    """Writes what is missing of a store.

    Args:
        folder: of the store; one that was begun with the same header is finished.
        header: what it is made with.
        names: of the images, all different.
        describe: what to store of the image of an index.
        advance: told how many more images are done.

    Returns:
        Number of images that were described now.

    Raises:
        ValueError: the folder holds a store made with something else, or names that repeat.
    """
    folder = Path(folder)
    if len(set(names)) != len(names) or len(names) != header.images:
        raise ValueError(f"a store needs {header.images} different image names; got {len(set(names))} of {len(names)}")
    place = folder / _HEADER
    if place.is_file():
        _refuse_other(read_header(folder), header, folder)
    else:
        with atomic_write(place) as (temporary,):
            temporary.write_text(json.dumps({"format": _FORMAT, **asdict(header)}, indent=1), encoding="utf-8")
    done = 0
    for shard in range(header.shards):
        rows = range(shard * header.shard_size, min((shard + 1) * header.shard_size, header.images))
        if not _shard_path(folder, shard).is_file():
            _write_shard(_shard_path(folder, shard), [names[row] for row in rows], [describe(row) for row in rows])
            done += len(rows)
        advance(len(rows))
    return done


def read_header(folder: str | Path) -> TeacherHeader:
    """The header of a store.

    Raises:
        ValueError: there is none, or it is of another format.
    """
    path = Path(folder) / _HEADER
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise KeyError("format")
        return TeacherHeader(**{**content, "contexts": tuple(content["contexts"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is no header of a teacher store: {error}") from error


class TeacherStore:
    """Reads a store.

    Args:
        folder: of the store.
        **expected: fields of the header that must be so, such as ``fingerprint``.

    Raises:
        ValueError: it was made with something else, or is not finished; the message says how much is missing.
    """

    def __init__(self, folder: str | Path, **expected: Any) -> None:
        self.folder = Path(folder)
        self.header = read_header(self.folder)
        for name, value in expected.items():
            stored = getattr(self.header, name)
            if stored != value:
                raise ValueError(
                    f"the teacher store {str(folder)!r} has {name} {stored!r}, training asks for {value!r}"
                )
        missing = [shard for shard in range(self.header.shards) if not _shard_path(self.folder, shard).is_file()]
        if missing:
            raise ValueError(
                f"the teacher store {str(folder)!r} is half written: {len(missing)} of {self.header.shards} shards are "
                "missing; run tools/store_teacher.py again, it goes on where it stopped"
            )
        self._rows: dict[str, tuple[int, int]] = {}
        for shard in range(self.header.shards):
            with safe_open(_shard_path(self.folder, shard), framework="pt") as file:
                names = json.loads(file.metadata()["names"])
            self._rows |= {name: (shard, row) for row, name in enumerate(names)}

    def __len__(self) -> int:
        return self.header.images

    def __getitem__(self, name: str) -> TeacherRecord:
        """What is stored of an image.

        Raises:
            ValueError: the store is of another set of images.
        """
        if name not in self._rows:
            first = next(iter(self._rows), "nothing")
            raise ValueError(
                f"the teacher store {str(self.folder)!r} has nothing about {name!r}: it was made of another set of "
                f"images ({first!r}, ...)"
            )
        shard, row = self._rows[name]
        with safe_open(_shard_path(self.folder, shard), framework="pt") as file:
            first, last = file.get_tensor("offsets")[row : row + 2].tolist()
            parts = [file.get_slice(part)[first:last].float() for part in ("boxes", "scores", "features")]
        return TeacherRecord(*parts)


def _write_shard(path: Path, names: Sequence[str], taught: Sequence[TeacherRecord]) -> None:
    counts = torch.tensor([0, *(len(entry.boxes) for entry in taught)], dtype=torch.int64)
    tensors = {
        "offsets": counts.cumsum(0),
        "boxes": torch.cat([entry.boxes.float().cpu() for entry in taught]),
        "scores": torch.cat([entry.scores.half().cpu() for entry in taught]),
        "features": torch.cat([entry.features.half().cpu() for entry in taught]),
    }
    with atomic_write(path) as (temporary,):
        save_file(
            {name: value.contiguous() for name, value in tensors.items()}, temporary, {"names": json.dumps(names)}
        )


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:05d}.safetensors"


def _refuse_other(stored: TeacherHeader, wanted: TeacherHeader, folder: Path) -> None:
    for name, value in asdict(wanted).items():
        if asdict(stored)[name] != value:
            raise ValueError(
                f"{str(folder)!r} holds a store with {name} {asdict(stored)[name]!r}, not {value!r}; write to another "
                "folder"
            )
