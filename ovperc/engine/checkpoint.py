"""Checkpoints of the Runner: read as plain tensors, written whole or not at all."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio.backends import LocalBackend
from mmengine.logging.history_buffer import HistoryBuffer

from ovperc.io.atomic import atomic_write

LFS_HEADER = b"version https://git-lfs"
STEP_FILE = re.compile(r"^(?:iter|epoch)_(\d+)\.pth$")
LEFTOVER_FILE = re.compile(r"^\..*-[0-9a-f]{32}\.pth$")  # the temporary names of ``atomic_write``


class CheckpointError(ValueError):
    """A checkpoint file that cannot be used; the message says which, why and what to do."""


def _history_attribute(owner: object, name: str) -> Any:
    """Stands in for ``builtins.getattr`` in checkpoints: mmengine pickles four methods of its log buffers."""
    if owner is HistoryBuffer and name in ("min", "max", "mean", "current"):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f"the checkpoint asks for attribute {name!r} of {owner!r}")


def _safe_globals() -> list[Any]:
    """What a Runner checkpoint may name beside tensors: log buffers, and numpy arrays and scalars of numbers."""
    core = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray
    pairs: list[Any] = [(_history_attribute, "builtins.getattr"), HistoryBuffer, np.ndarray, np.dtype]
    for package in ("numpy.core", "numpy._core"):  # numpy renamed the module in 2.0
        pairs += [(getattr(core, name), f"{package}.multiarray.{name}") for name in ("_reconstruct", "scalar")]
    pairs += [type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8", "u1", "u4", "u8", "?")]
    return pairs


def _reject_non_checkpoints(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint not found: {path}")
    with path.open("rb") as stream:
        head = stream.read(len(LFS_HEADER))
    if not head:
        raise CheckpointError(f"checkpoint {path} is empty; it was not downloaded or written fully, fetch it again")
    if head == LFS_HEADER:
        raise CheckpointError(f"checkpoint {path} is a git-lfs pointer, not the weights; run 'git lfs pull'")


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Reads a checkpoint without running any code it may hold.

    Args:
        path: ``.safetensors``, or a ``torch.save`` file of tensors and plain values.
        map_location: as in ``torch.load``.

    Returns:
        The stored mapping; a ``.safetensors`` file gives ``{"state_dict": ...}``.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: empty, truncated, a git-lfs pointer, or holding more than tensors and plain values.
    """
    path = Path(path).expanduser()
    _reject_non_checkpoints(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {"state_dict": load_file(path, device=str(map_location or "cpu"))}
        with torch.serialization.safe_globals(_safe_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} was refused: it is damaged or holds more than tensors and plain values "
            f"({str(error).splitlines()[0]})"
        ) from error
    except (EOFError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read, it is probably truncated ({error})") from error
    except Exception as error:
        if type(error).__name__ == "SafetensorError":
            raise CheckpointError(f"checkpoint {path} is not a whole safetensors file ({error})") from error
        raise


class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, with writes that a kill cannot leave half done."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes whole or not at all."""
        with atomic_write(filepath) as (temporary,):
            temporary.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Writes text whole or not at all."""
        self.put(obj.encode(encoding), filepath)


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint of a work dir that is furthest on, or ``None``.

    The directory is scanned rather than mmengine's ``last_checkpoint`` note trusted: a kill can leave the note empty
    or naming a file that was never finished.
    """
    found = [(int(match[1]), path) for path in Path(work_dir).glob("*.pth") if (match := STEP_FILE.match(path.name))]
    return max(found)[1] if found else None


def remove_leftovers(work_dir: str | Path) -> None:
    """Deletes the temporary files that a killed run left in its work dir."""
    for path in Path(work_dir).glob(".*.pth"):
        if LEFTOVER_FILE.match(path.name):
            path.unlink(missing_ok=True)
