"""Embedded words kept between runs: one file per encoder and template set."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ovperc.core.atomic import atomic_write

_FORMAT = "ovperc-text-store-2"
_KEY_BYTES = 32
_MIN_SECONDS_BETWEEN_WRITES = 5.0
# A store is one file, written whole: this bounds the share of the time that writing takes.
_WRITE_SHARE = 0.05
_LOCK_SECONDS = 10.0
_MAX_BYTES = 256 * 2**20
_HEADER_BYTES = 2**16


def word_key(word: str, dtype: torch.dtype) -> bytes:
    """Hash (32 bytes) of a word and the precision; encoder and templates are those of the store."""
    return hashlib.sha256(f"{dtype}\n{word}".encode("utf-8", "surrogatepass")).digest()


class BankStore:
    """Unit embeddings by content hash, in memory and, with a folder, on disk.

    The file holds ``keys`` (N, 32) uint8 and ``embeddings`` (N, E) float32 with a checksum over both. It is
    replaced whole at intervals and at :meth:`flush`, so a killed run keeps what it had written. Threads may
    share a store and processes a folder: writers merge their rows under a lock file, readers check what they
    read. Beyond ``max_bytes`` the rows used longest ago are dropped. A file that cannot be read or written
    costs a warning, never a result. Copies and pickles start from the file.

    Args:
        folder: where the file lies; ``None`` keeps everything in memory.
        fingerprint: of the encoder.
        templates_digest: of the template set.
        max_bytes: most bytes of keys and embeddings kept, in memory and on disk.
    """

    def __init__(
        self,
        folder: str | Path | None,
        fingerprint: str,
        templates_digest: str,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._arguments = (folder, fingerprint, templates_digest, max_bytes)
        self._identity = {"format": _FORMAT, "fingerprint": fingerprint, "templates": templates_digest}
        name = hashlib.sha256(f"{fingerprint}\n{templates_digest}".encode()).hexdigest()[:24]
        self.path = None if folder is None else Path(folder).expanduser() / f"{name}.safetensors"
        self.max_bytes = max_bytes
        self._lock = threading.RLock()
        self._rows = self._read()
        self._unwritten = False
        self._next_write = time.monotonic() + _MIN_SECONDS_BETWEEN_WRITES

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Tensor]:
        """Rows ``(E,)`` float32, unit norm, of those keys that the store holds."""
        with self._lock:
            found = {key: self._rows.pop(key) for key in dict.fromkeys(keys) if key in self._rows}
            self._rows.update(found)
            return found

    def add(self, keys: list[bytes], embeddings: Tensor) -> None:
        """Adds rows ``(len(keys), E)`` and writes the file if it is time to."""
        with self._lock:
            self._rows.update(zip(keys, embeddings.detach().float().cpu().clone(), strict=True))
            self._unwritten = True
            self._rows = self._bounded(self._rows)
            due = time.monotonic() >= self._next_write
        if due:
            self.flush()

    def flush(self) -> None:
        """Merges new rows, if there are any, into the file."""
        with self._lock:
            if self.path is None or not self._unwritten:
                return
            begin = time.monotonic()
            try:
                self._merge(self.path)
                self._unwritten = False
            except Timeout:
                pass  # another process is writing; the rows stay due
            except (OSError, NotImplementedError, SafetensorError) as error:
                warnings.warn(
                    f"the text cache {self.path} cannot be written ({error}); going on without it", stacklevel=2
                )
                self.path = None
            seconds = time.monotonic() - begin
            self._next_write = begin + max(_MIN_SECONDS_BETWEEN_WRITES, seconds / _WRITE_SHARE)

    def _merge(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
            stored = self._read()
            older = {key: row for key, row in stored.items() if key not in self._rows}
            self._rows = self._bounded(older | self._rows)
            content = _pack(self._rows, self._identity)
            with atomic_write(path) as (temporary,):
                temporary.write_bytes(content)

    def _read(self) -> dict[bytes, Tensor]:
        if self.path is None or not self.path.exists():
            return {}
        try:
            if (size := self.path.stat().st_size) > self.max_bytes + _HEADER_BYTES:
                raise ValueError(f"it has {size} bytes, more than a store of {self.max_bytes} bytes writes")
            return _unpack(self.path.read_bytes(), self._identity)
        except (OSError, ValueError, SafetensorError) as error:
            warnings.warn(f"the text cache {self.path} is ignored and rebuilt: {error}", stacklevel=2)
            return {}

    def _bounded(self, rows: dict[bytes, Tensor]) -> dict[bytes, Tensor]:
        """The rows used last that fit into ``max_bytes``, in the order of their last use."""
        if not rows:
            return rows
        row_bytes = _KEY_BYTES + 4 * next(iter(rows.values())).numel()
        excess = len(rows) - max(1, self.max_bytes // row_bytes)
        return dict(list(rows.items())[excess:]) if excess > 0 else rows


def _pack(rows: dict[bytes, Tensor], identity: dict[str, str]) -> bytes:
    """A file's content; its metadata carry the identity and the checksum."""
    keys = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).reshape(-1, _KEY_BYTES)
    embeddings = torch.stack(list(rows.values()))
    metadata = identity | {"checksum": _checksum(keys, embeddings)}
    return save({"keys": keys, "embeddings": embeddings}, metadata=metadata)


def _unpack(content: bytes, identity: dict[str, str]) -> dict[bytes, Tensor]:
    """The rows of a file's content.

    Raises:
        ValueError: damaged, of another version, or of another encoder or template set.
        SafetensorError: not a safetensors file.
    """
    tensors = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = dict(header.get("__metadata__") or {})
    checksum = metadata.pop("checksum", None)
    if metadata != identity:
        raise ValueError("it belongs to another version, encoder or template set")
    if set(tensors) != {"keys", "embeddings"}:
        raise ValueError(f"expected keys and embeddings, found {', '.join(sorted(tensors)) or 'nothing'}")
    keys, embeddings = tensors["keys"], tensors["embeddings"]
    rows = len(embeddings) if embeddings.ndim == 2 else -1
    if keys.dtype != torch.uint8 or keys.shape != (rows, _KEY_BYTES) or embeddings.dtype != torch.float32:
        raise ValueError(f"unexpected shapes {tuple(keys.shape)} and {tuple(embeddings.shape)}")
    if checksum != _checksum(keys, embeddings):
        raise ValueError("its checksum does not match its rows")
    if not torch.isfinite(embeddings).all():
        raise ValueError("it holds values that are not finite")
    buffer = keys.numpy().tobytes()
    return {buffer[_KEY_BYTES * i : _KEY_BYTES * (i + 1)]: row for i, row in enumerate(embeddings)}


def _checksum(keys: Tensor, embeddings: Tensor) -> str:
    digest = hashlib.sha256(keys.numpy().data)
    digest.update(embeddings.numpy().data)
    return digest.hexdigest()
