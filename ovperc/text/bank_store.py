"""Embedded words kept between runs: one file per encoder and template set."""

from __future__ import annotations

import hashlib
import time
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ovperc.core.atomic import atomic_write

_FORMAT = "ovperc-text-store-1"
_MIN_SECONDS_BETWEEN_WRITES = 5.0
# A store is one file, written whole: this bounds the share of the time that writing takes.
_WRITE_SHARE = 0.05


def word_key(word: str, dtype: torch.dtype) -> bytes:
    """Hash (32 bytes) of a word and the precision; encoder and templates are those of the store."""
    return hashlib.sha256(f"{dtype}\n{word}".encode("utf-8", "surrogatepass")).digest()


class BankStore:
    """Unit embeddings by content hash, in memory and, with a folder, on disk.

    The file holds ``keys`` (N, 32) uint8 and ``embeddings`` (N, E) float32. It is replaced whole at
    intervals and at :meth:`flush`, so a killed run keeps what it had written. Two processes may share a
    folder: neither breaks the other's file, though words one adds while the other writes may be lost. A
    file that cannot be read or written costs a warning, never a result.

    Args:
        folder: where the file lies; ``None`` keeps everything in memory.
        fingerprint: of the encoder.
        templates_digest: of the template set.
    """

    def __init__(self, folder: str | Path | None, fingerprint: str, templates_digest: str) -> None:
        self._identity = {"format": _FORMAT, "fingerprint": fingerprint, "templates": templates_digest}
        name = hashlib.sha256(f"{fingerprint}\n{templates_digest}".encode()).hexdigest()[:24]
        self.path = None if folder is None else Path(folder).expanduser() / f"{name}.safetensors"
        self._rows: dict[bytes, Tensor] = {} if self.path is None else self._read()
        self._unwritten = 0
        self._next_write = time.monotonic() + _MIN_SECONDS_BETWEEN_WRITES

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __getitem__(self, key: bytes) -> Tensor:
        """``(E,)`` float32, unit norm."""
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, keys: list[bytes], embeddings: Tensor) -> None:
        """Adds rows ``(len(keys), E)`` and writes the file if it is time to."""
        self._rows.update(zip(keys, embeddings.detach().float().cpu().clone(), strict=True))
        self._unwritten += len(keys)
        if time.monotonic() >= self._next_write:
            self.flush()

    def flush(self) -> None:
        """Writes the file, if anything is new."""
        if self.path is None or not self._unwritten:
            return
        begin = time.monotonic()
        try:
            self._rows = self._read() | self._rows
            keys = torch.frombuffer(bytearray(b"".join(self._rows)), dtype=torch.uint8).reshape(-1, 32)
            with atomic_write(self.path) as (temporary,):
                save_file(
                    {"keys": keys, "embeddings": torch.stack(list(self._rows.values()))},
                    temporary,
                    metadata=self._identity,
                )
            self._unwritten = 0
        except (OSError, SafetensorError) as error:
            warnings.warn(f"the text cache {self.path} cannot be written ({error}); going on without it", stacklevel=2)
            self.path = None
        seconds = time.monotonic() - begin
        self._next_write = begin + max(_MIN_SECONDS_BETWEEN_WRITES, seconds / _WRITE_SHARE)

    def _read(self) -> dict[bytes, Tensor]:
        if self.path is None or not self.path.exists():
            return {}
        try:
            with safe_open(self.path, framework="pt") as file:
                if file.metadata() != self._identity:
                    raise ValueError("it belongs to another encoder or template set")
                keys, rows = file.get_tensor("keys"), file.get_tensor("embeddings")
            if keys.dtype != torch.uint8 or keys.shape != (rows.shape[0], 32) or rows.dtype != torch.float32:
                raise ValueError(f"unexpected shapes {tuple(keys.shape)} and {tuple(rows.shape)}")
            if not torch.isfinite(rows).all():
                raise ValueError("it holds values that are not finite")
        except (OSError, ValueError, IndexError, SafetensorError) as error:
            warnings.warn(f"the text cache {self.path} is ignored and rebuilt: {error}", stacklevel=2)
            return {}
        buffer = keys.contiguous().numpy().tobytes()
        return {buffer[32 * i : 32 * (i + 1)]: row for i, row in enumerate(rows)}
