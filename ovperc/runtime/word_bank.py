"""Embedded words without torch: the numpy counterpart of :class:`ovperc.core.structures.TextBank`."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ovperc.core.atomic import atomic_write
from ovperc.core.background import Background

_FORMAT = "ovperc-word-bank-1"


@dataclass(frozen=True, eq=False)
class WordBank:
    """Words embedded by one text tower; a torch :class:`~ovperc.core.structures.TextBank` converts with :meth:`of`.

    Attributes:
        embeddings: ``(Q, E)`` float32, unit rows; one row per prompt.
        owners: ``(Q,)`` int64, the label each row votes for.
        names: label -> name. With ``background.enabled``, ``names[0]`` is ``"background"``.
        fingerprint: identifies the encoder.
        background: the policy of this vocabulary.
    """

    embeddings: np.ndarray
    owners: np.ndarray
    names: tuple[str, ...]
    fingerprint: str
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        embeddings = np.ascontiguousarray(self.embeddings, dtype=np.float32)
        owners = np.ascontiguousarray(self.owners, dtype=np.int64)
        object.__setattr__(self, "embeddings", embeddings)
        object.__setattr__(self, "owners", owners)
        object.__setattr__(self, "names", tuple(self.names))
        if embeddings.ndim != 2 or owners.shape != embeddings.shape[:1]:
            raise ValueError(
                f"a word bank needs embeddings (Q, E) and owners (Q,); got {embeddings.shape} and {owners.shape}"
            )
        if len(owners) == 0:
            raise ValueError("a word bank needs at least one prompt; name at least one class")
        if not np.isfinite(embeddings).all():
            raise ValueError("a word bank holds values that are not finite; encode the words again")
        if owners.min() < 0 or owners.max() >= len(self.names):
            raise ValueError(f"owners must lie in 0..{len(self.names) - 1}, the range of names")

    @classmethod
    def of(cls, bank: Any) -> WordBank:
        """A bank from any object with the same five attributes, tensors included."""
        if isinstance(bank, cls):
            return bank
        try:
            return cls(_array(bank.embeddings), _array(bank.owners), bank.names, bank.fingerprint, bank.background)
        except AttributeError as error:
            raise TypeError(f"a word bank is a WordBank or a TextBank; got {type(bank).__name__}") from error

    def save(self, path: str | Path) -> None:
        """Writes an ``.npz`` file, whole or not at all."""
        policy = {"words": list(self.background.words), "threshold": self.background.threshold}
        head = {"format": _FORMAT, "names": self.names, "fingerprint": self.fingerprint, "background": policy}
        with atomic_write(path) as (temporary,), open(temporary, "wb") as file:
            np.savez(file, embeddings=self.embeddings, owners=self.owners, head=np.array(json.dumps(head)))

    @classmethod
    def load(cls, path: str | Path) -> WordBank:
        """Reads what :meth:`save` wrote; runs nothing that a file brings along.

        Raises:
            ValueError: the file is missing, damaged or of another kind.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                head = json.loads(str(file["head"]))
                if head.pop("format") != _FORMAT:
                    raise ValueError("another format")
                policy = Background(tuple(head["background"]["words"]), float(head["background"]["threshold"]))
                embeddings, owners = file["embeddings"], file["owners"]
            return cls(embeddings, owners, tuple(head["names"]), head["fingerprint"], policy)
        except (OSError, KeyError, TypeError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{str(path)!r} is not a word bank of this version ({_FORMAT}): {error}") from error


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
