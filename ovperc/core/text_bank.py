"""Embedded vocabularies, of torch tensors or numpy arrays; no torch is needed here."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from ovperc.core.atomic import atomic_write
from ovperc.core.background import Background

Array = TypeVar("Array")  # torch.Tensor or numpy.ndarray
_FORMAT, _OLDER_FORMATS = "ovperc-text-bank-1", ("ovperc-word-bank-1",)


@dataclass(frozen=True, eq=False)
class TextBank(Generic[Array]):
    """A vocabulary embedded by one text tower.

    Attributes:
        embeddings: ``(Q, E)`` float32, unit rows; one row per prompt (synonym).
        owners: ``(Q,)`` int64, the label each row votes for, non-decreasing.
        names: label -> name. With ``background.enabled``, ``names[0]`` is ``"background"``.
        fingerprint: identifies the encoder (weights, tokenizer); banks of another encoder are refused.
        background: the policy of this vocabulary.

    Raises:
        ValueError: shapes that do not fit each other, no prompt, values that are not finite, or owners outside the
            range of names.
    """

    embeddings: Array
    owners: Array
    names: tuple[str, ...]
    fingerprint: str
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        embeddings: Any = self.embeddings
        owners: Any = self.owners
        if embeddings.ndim != 2 or tuple(owners.shape) != tuple(embeddings.shape[:1]):
            raise ValueError(
                f"a text bank needs embeddings (Q, E) and owners (Q,); got {tuple(embeddings.shape)} "
                f"and {tuple(owners.shape)}"
            )
        if len(owners) == 0:
            raise ValueError("a text bank needs at least one prompt; name at least one class")
        # Infinity minus itself is NaN, in torch and numpy alike.
        if not bool((embeddings - embeddings == 0).all()):
            raise ValueError("a text bank holds values that are not finite; encode the words again")
        if int(owners.max()) >= len(self.names) or int(owners.min()) < 0:
            raise ValueError(f"owners must lie in 0..{len(self.names) - 1}, the range of names")

    @property
    def num_classes(self) -> int:
        """Number of labels, background included."""
        return len(self.names)

    def to(self, device: Any) -> TextBank:
        """A bank of tensors, on another device."""
        embeddings: Any = self.embeddings
        owners: Any = self.owners
        return TextBank(embeddings.to(device), owners.to(device), self.names, self.fingerprint, self.background)

    def numpy(self) -> TextBank[np.ndarray]:
        """The same bank as arrays, float32 and int64."""
        embeddings = np.ascontiguousarray(_to_array(self.embeddings), np.float32)
        owners = np.ascontiguousarray(_to_array(self.owners), np.int64)
        return TextBank(embeddings, owners, tuple(self.names), self.fingerprint, self.background)

    def save(self, path: str | Path) -> None:
        """Writes an ``.npz`` file atomically."""
        arrays = self.numpy()
        policy = {"words": list(self.background.words), "threshold": self.background.threshold}
        head = {"format": _FORMAT, "names": self.names, "fingerprint": self.fingerprint, "background": policy}
        with atomic_write(path) as (temporary,), open(temporary, "wb") as file:
            np.savez(file, embeddings=arrays.embeddings, owners=arrays.owners, head=np.array(json.dumps(head)))

    @classmethod
    def load(cls, path: str | Path) -> TextBank[np.ndarray]:
        """Reads a file written by :meth:`save`, as arrays; no pickle is loaded.

        Raises:
            ValueError: the file is missing, corrupt or of another format.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                head = json.loads(str(file["head"]))
                if head.pop("format") not in (_FORMAT, *_OLDER_FORMATS):
                    raise ValueError("another format")
                policy = Background(tuple(head["background"]["words"]), float(head["background"]["threshold"]))
                embeddings, owners = file["embeddings"], file["owners"]
            return TextBank(embeddings, owners, tuple(head["names"]), head["fingerprint"], policy).numpy()
        except (OSError, KeyError, TypeError, AttributeError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{str(path)!r} is not a text bank of this version ({_FORMAT}): {error}") from error


def _to_array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
