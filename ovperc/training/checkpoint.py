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

from ovperc.core.atomic import atomic_write
from ovperc.weights.errors import READ_ERRORS
from ovperc.weights.reading import read_checkpoint

STEP_FILE = re.compile(r"^(?:iter|epoch)_(\d+)\.pth$")


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


def read_run_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Reads a checkpoint of a training run, or a file of weights, without running any code it may hold.

    Args:
        path: what the Runner wrote; or weights in any format that ``ovperc.weights.reading`` reads.
        map_location: as in ``torch.load``; weights go to the CPU.

    Returns:
        The run's checkpoint; a file of weights gives ``{"state_dict": ...}``.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: empty, truncated, a git-lfs pointer, or holding more than tensors and plain values.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {path}")
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            stored = torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, *READ_ERRORS):
        return {"state_dict": read_checkpoint(path)}  # other formats; explains what is wrong with a bad file
    if isinstance(stored, dict) and "state_dict" in stored:
        return stored
    return {"state_dict": read_checkpoint(path)}


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
