"""Checkpoint files to flat tables of tensors; nothing in a file is ever executed."""

from __future__ import annotations

import codecs
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovperc.weights.archives import check_members, read_archive
from ovperc.weights.errors import READ_ERRORS, CheckpointError
from ovperc.weights.shards import INDEX_SUFFIX, shard_names

_NESTS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "teacher",
    "decoder",
    "prompt_learner",
    "trainable_linearlayer",
)
_MAX_NESTING = 8


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads a checkpoint of any common format, tensors only.

    Formats are told by content: safetensors, torch's zip archives, TorchScript such as OpenAI's (its code is not run),
    torch's older pickles (``weights_only=True``) and ``numpy.savez``; an ``.index.json`` stands for the files it lists.
    Tables nested under ``state_dict`` are unwrapped and the ``module.`` prefix of distributed training is taken off.

    Returns:
        Parameter name -> tensor, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is empty, truncated, a git-lfs pointer, a web page, JSON text, or holds no tensors;
            members are compressed, or tables nested in a circle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {path}")
    if path.name.endswith(INDEX_SUFFIX):
        parts = [read_checkpoint(path.with_name(name)) for name in shard_names(path)]
        return {name: value for part in parts for name, value in part.items()}
    head = _check_head(path)
    if head[8:9] == b"{":
        table = _read_safetensors(path)
    elif head[:2] == b"PK":
        table = _read_zip(path)
    else:
        table = _read_pickle(path, head)
    return _flatten(table, path)


def _check_head(path: Path) -> bytes:
    """First bytes of the file; raises CheckpointError for what is plainly no checkpoint."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path} is empty; download or copy it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a git-lfs pointer, not the weights; fetch the file itself (git lfs pull)")
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text[:1] == b"<":
        raise CheckpointError(f"{path} is a web page, not a checkpoint; download the file itself")
    if text[:1] in (b"{", b"[") and head[8:9] != b"{":
        line = text.decode("utf-8", "replace").splitlines()[0][:60]
        raise CheckpointError(f"{path} is JSON text ({line}...), not a checkpoint; download the file itself")
    return head


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, *READ_ERRORS) as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}; download or copy it again") from error


def _read_zip(path: Path) -> Any:
    """An archive of torch, or of ``numpy.savez`` (big_vision)."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = all(name.endswith(".npy") for name in archive.namelist())
            if arrays:
                check_members(archive.infolist(), path)
    except CheckpointError:
        raise
    except READ_ERRORS as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}; download or copy it again") from error
    return _read_arrays(path) if arrays else read_archive(path)


def _read_arrays(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except READ_ERRORS as error:
        raise CheckpointError(f"{path} holds no plain numpy arrays of numbers: {error}") from error


def _read_pickle(path: Path, head: bytes) -> Any:
    """torch's format before 1.6, and files that are no checkpoint at all."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"unsupported (?:class|global):? ?(?:GLOBAL )?([\w.]+)", str(error), re.IGNORECASE)
        if foreign:
            raise CheckpointError(
                f"{path} holds objects other than tensors ({foreign[1]}), which are not loaded; save its state dict "
                "alone"
            ) from error
        if head[:1] == pickle.PROTO and "Unsupported operand" in str(error):
            raise CheckpointError(
                f"{path} is a Python pickle of arbitrary objects, which is not loaded; save a state dict with "
                "torch.save"
            ) from error
        raise CheckpointError(f"{path} is truncated, damaged or not a checkpoint") from error
    except READ_ERRORS as error:
        raise CheckpointError(f"{path} is truncated, damaged or not a checkpoint: {error}") from error


def _flatten(table: Any, path: Path) -> dict[str, Tensor]:
    """Unwraps nests and the ``module.`` prefix, and drops what is no tensor."""
    for _ in range(_MAX_NESTING):
        nest = next(
            (name for name in _NESTS if isinstance(table, Mapping) and isinstance(table.get(name), Mapping)), None
        )
        if nest is None:
            break
        table = table[nest]
    else:
        raise CheckpointError(f"{path} nests tables in a circle, or more than {_MAX_NESTING} deep: damaged")
    if not isinstance(table, Mapping):
        raise CheckpointError(f"{path} holds a {type(table).__name__}, not a table of named tensors")
    flat = {str(name): value.detach() for name, value in table.items() if isinstance(value, Tensor)}
    if not flat:
        raise CheckpointError(f"{path} holds no tensors")
    limit = path.stat().st_size
    large = next((name for name, value in flat.items() if value.numel() * value.element_size() > limit), None)
    if large is not None:
        raise CheckpointError(
            f"{path} claims a tensor {large} of shape {tuple(flat[large].shape)}, larger than the file"
        )
    if all(name.startswith("module.") for name in flat):
        flat = {name[len("module.") :]: value for name, value in flat.items()}
    return flat
