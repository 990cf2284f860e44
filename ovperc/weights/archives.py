"""Zip archives of ``torch.save`` and TorchScript: their tensors are rebuilt here, their code is never run."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ovperc.weights.errors import READ_ERRORS, CheckpointError

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
    "UntypedStorage": torch.uint8,
}
_BOOKKEEPING = ("argparse", "numpy", "numpy.core.multiarray", "numpy._core.multiarray", "mmengine.logging", "pathlib")
"""Modules whose objects training scripts save with the tensors; an inert stand-in takes the place of each."""
_BOOKKEEPING_NAMES = {"Namespace", "scalar", "dtype", "ndarray", "_reconstruct", "HistoryBuffer", "PosixPath", "Path"}
_MAX_DEPTH = 64
_MAX_MODULES = 100_000


class ScriptObject:
    """Stands for any TorchScript module: keeps its attributes, runs nothing."""

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Inert:
    """Stands for a scalar, a namespace or a log saved with the tensors; keeps nothing, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_archive(path: Path) -> Any:
    """What a zip archive holds: nested tables of tensors.

    Args:
        path: a file of ``torch.save`` (zip format) or ``torch.jit.save``.

    Raises:
        CheckpointError: damaged, compressed or self-inflating members, or objects other than tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next((name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")), None)
            if root is None:
                raise CheckpointError(f"{path} is a zip archive without data.pkl, not a checkpoint of torch")
            read = (f"{root}/data.pkl", f"{root}/data/", f"{root}/byteorder")
            check_members([member for member in archive.infolist() if member.filename.startswith(read)], path)
            if any(name == f"{root}/byteorder" and archive.read(name) != b"little" for name in names):
                raise CheckpointError(f"{path} was written on a big-endian machine; save it again on a usual one")
            script = f"{root}/constants.pkl" in names
            value = _ArchiveUnpickler(archive, root, script=script).load()
            return _script_table(value, path) if script else value
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} holds objects other than tensors, which are not loaded: {error}") from error
    except CheckpointError:
        raise
    except READ_ERRORS as error:
        raise CheckpointError(
            f"{path} is truncated or damaged: {str(error) or type(error).__name__}; download or copy it again"
        ) from error


def check_members(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """Refuses members that inflate: torch and ``numpy.savez`` store tensors as they are.

    Args:
        members: those that are going to be read.
        path: of the archive.

    Raises:
        CheckpointError: a compressed member, or members larger together than the file.
    """
    packed = next((member for member in members if member.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise CheckpointError(
            f"{path} holds the compressed member {packed.filename}, which is not unpacked; save the tensors again "
            "with torch.save, safetensors or numpy.savez, which store them uncompressed"
        )
    total = sum(member.file_size for member in members)
    if total > path.stat().st_size:
        raise CheckpointError(f"{path} claims {total} bytes of members in a file of {path.stat().st_size}: damaged")


class _ArchiveUnpickler(pickle.Unpickler):
    """Rebuilds tensors and plain tables; every global that is not listed is refused."""

    def __init__(self, archive: zipfile.ZipFile, root: str, *, script: bool) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root
        self._script = script
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if self._script and module.startswith("__torch__"):
            return ScriptObject
        if module in ("torch", "torch.storage") and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module in _BOOKKEEPING and name in _BOOKKEEPING_NAMES) or module == "mmengine.logging.history_buffer":
            return _Inert
        if (module, name) not in _REBUILDERS:
            raise pickle.UnpicklingError(f"{module}.{name} is not a part of a plain weights archive")
        return _REBUILDERS[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        if key not in self._storages:
            data = self._archive.read(f"{self._root}/data/{key}")
            empty = not count
            self._storages[key] = (
                torch.empty(0, dtype=dtype) if empty else torch.frombuffer(bytearray(data), dtype=dtype, count=count)
            )
        return self._storages[key]


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    tensor = torch.as_strided(storage, size, stride, offset)
    if tensor.numel() > storage.numel():
        raise ValueError(f"a tensor of shape {tuple(size)} repeats a storage of {storage.numel()} values")
    return tensor


def _rebuild_typed(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], grad: bool, hooks: Any, *rest: Any
) -> Tensor:
    """``_rebuild_tensor_v3``: raw bytes and their dtype."""
    return _rebuild_tensor(storage.view(rest[0]), offset, size, stride)


def _first(value: Any, *_: Any) -> Any:
    return value


_REBUILDERS: dict[tuple[str, str], Callable[..., Any] | type] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("torch", "Size"): tuple,
    ("torch", "device"): _Inert,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_typed,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch.jit._pickle", "restore_type_tag"): _first,
    ("torch.jit._pickle", "build_intlist"): list,
    ("torch.jit._pickle", "build_doublelist"): list,
    ("torch.jit._pickle", "build_boollist"): list,
    ("torch.jit._pickle", "build_tensorlist"): list,
    ("_codecs", "encode"): _Inert,
    ("builtins", "getattr"): _Inert,
    ("builtins", "dict"): dict,
    ("builtins", "set"): set,
    ("builtins", "list"): list,
    ("builtins", "int"): int,
    ("builtins", "float"): float,
    ("__builtin__", "dict"): dict,
    ("__builtin__", "set"): set,
    ("__builtin__", "list"): list,
}


def _script_table(script: Any, path: Path) -> dict[str, Tensor]:
    """Walks modules depth first and names tensors as ``state_dict`` would.

    Raises:
        CheckpointError: modules nested in a circle, too deep, or shared so that there is no end of names.
    """
    table: dict[str, Tensor] = {}
    waiting: list[tuple[Any, str, int]] = [(script, "", 0)]
    visited = 0
    while waiting:
        module, prefix, depth = waiting.pop()
        visited += 1
        if depth > _MAX_DEPTH or visited > _MAX_MODULES:
            raise CheckpointError(f"{path} nests modules in a circle, or more than {_MAX_DEPTH} deep: damaged")
        inner = []
        for name, value in getattr(module, "state", {}).items():
            if isinstance(value, Tensor):
                table[prefix + name] = value
            elif isinstance(value, ScriptObject):
                inner.append((value, f"{prefix}{name}.", depth + 1))
        waiting.extend(reversed(inner))
    return table
