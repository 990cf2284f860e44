"""Checkpoint files to flat tables of tensors; nothing in a file is ever executed."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


_BROKEN = (EOFError, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What readers of a damaged file raise, in the end: their unpicklers trust what they read."""


class CheckpointError(ValueError):
    """A file that is no usable checkpoint, or not one for the model at hand."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads a checkpoint of any common format, tensors only.

    Formats are told by content: safetensors, torch zip or legacy pickle (read with ``weights_only=True``), and
    TorchScript archives such as OpenAI's (their tensors are read, their code is not run). Tables nested under
    ``state_dict`` are unwrapped and the ``module.`` prefix of distributed training is taken off.

    Returns:
        Parameter name -> tensor, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is empty, truncated, a git-lfs pointer, a web page, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {path}")
    head = _check_head(path)
    if head[8:9] == b"{":
        table = _read_safetensors(path)
    elif head[:2] == b"PK":
        table = _read_zip(path)
    else:
        table = _torch_load(path)
    return _flatten(table, path)


def _check_head(path: Path) -> bytes:
    """First bytes of the file; raises CheckpointError for what is plainly no checkpoint."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path} is empty; download or copy it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a git-lfs pointer, not the weights; fetch the file itself (git lfs pull)")
    if head.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path} is a web page, not a checkpoint; download the file itself")
    return head


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}; download or copy it again") from error


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                return _read_torchscript(archive, path)
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}; download or copy it again") from error
    return _torch_load(path)


def _torch_load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise CheckpointError(
                f"{path} holds objects other than tensors, which are not loaded; save its state dict alone"
            ) from error
        raise CheckpointError(f"{path} is truncated, damaged or not a checkpoint") from error
    except _BROKEN as error:
        raise CheckpointError(f"{path} is truncated, damaged or not a checkpoint: {error}") from error


class _ScriptObject:
    """Stands for any TorchScript module: keeps its attributes, runs nothing."""

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _ArchiveUnpickler(pickle.Unpickler):
    """Rebuilds tensors and attribute tables of a TorchScript archive; every other global is refused."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _ScriptObject
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_doublelist"): list,
            ("torch.jit._pickle", "build_boollist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not a part of a plain weights archive")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        if key not in self._storages:
            data = self._archive.read(f"{self._root}/data/{key}")
            self._storages[key] = torch.frombuffer(bytearray(data), dtype=dtype, count=count)
        return self._storages[key]


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _read_torchscript(archive: zipfile.ZipFile, path: Path) -> dict[str, Tensor]:
    root = archive.namelist()[0].split("/", 1)[0]
    try:
        script = _ArchiveUnpickler(archive, root).load()
    except (pickle.UnpicklingError, *_BROKEN) as error:
        raise CheckpointError(f"the TorchScript archive {path} could not be read: {error}") from error
    table: dict[str, Tensor] = {}
    _collect(script, "", table)
    return table


def _collect(script: Any, prefix: str, table: dict[str, Tensor]) -> None:
    """Walks modules depth first and names tensors as ``state_dict`` would."""
    for name, value in getattr(script, "state", {}).items():
        if isinstance(value, Tensor):
            table[prefix + name] = value
        elif isinstance(value, _ScriptObject):
            _collect(value, f"{prefix}{name}.", table)


def _flatten(table: Any, path: Path) -> dict[str, Tensor]:
    """Unwraps nests and the ``module.`` prefix, and drops what is no tensor."""
    while isinstance(table, Mapping):
        nest = next((name for name in _NESTS if isinstance(table.get(name), Mapping)), None)
        if nest is None:
            break
        table = table[nest]
    if not isinstance(table, Mapping):
        raise CheckpointError(f"{path} holds a {type(table).__name__}, not a table of named tensors")
    flat = {str(name): value.detach() for name, value in table.items() if isinstance(value, Tensor)}
    if not flat:
        raise CheckpointError(f"{path} holds no tensors")
    if all(name.startswith("module.") for name in flat):
        flat = {name[len("module.") :]: value for name, value in flat.items()}
    return flat
