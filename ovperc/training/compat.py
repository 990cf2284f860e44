"""What mmengine 0.10 and mmsegmentation 1.2 need beside a recent torch and an uncompiled mmcv.

Nothing happens at import: entry points call ``prepare_mmengine`` (and ``prepare_mmseg`` before mmseg's models are
imported). Each fix says why it is here and when it can go.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

ATOMIC_BACKEND = "ovperc.atomic"


def prepare_mmengine() -> None:
    """Installs the safe checkpoint reader and the atomic file backend in mmengine's tables; safe to repeat."""
    install_checkpoint_reader()
    install_atomic_backend()


def install_checkpoint_reader() -> None:
    """Makes every checkpoint that mmengine opens go through ``read_run_checkpoint``.

    Why: torch >= 2.6 loads with ``weights_only=True`` and then refuses mmengine's own Runner checkpoints (log buffers,
    numpy scalars), while mmengine's downloads still unpickle anything. Goes when mmengine loads its checkpoints with
    ``weights_only=True`` by itself (not in 0.10.7).
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    from ovperc.training.checkpoint import read_run_checkpoint

    def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
        return read_run_checkpoint(filename, map_location)

    def load_from_remote(filename: str, map_location: Any = None) -> NoReturn:
        raise ValueError(f"weights are not fetched while a run starts: download {filename!r} and pass the file's path")

    for prefix in list(CheckpointLoader._schemes):
        CheckpointLoader.register_scheme(prefix, load_from_remote if prefix else load_from_local, force=True)


def install_atomic_backend() -> None:
    """Registers the file backend that checkpoint hooks write with.

    Why: mmengine writes checkpoints in place, so a kill leaves a torn file under the final name. Goes when mmengine's
    ``LocalBackend.put`` renames (not in 0.10.7).
    """
    from mmengine.fileio.backends import register_backend

    from ovperc.training.checkpoint import AtomicLocalBackend

    register_backend(ATOMIC_BACKEND, AtomicLocalBackend, force=True)


class _UncompiledOps(ModuleType):
    """Answers any operator's name with a function that says it was not compiled."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> NoReturn:
            raise NotImplementedError(f"mmcv operator {name!r} is not compiled; this model needs the full mmcv package")

        return missing


def prepare_mmseg() -> None:
    """Makes ``mmseg.models`` importable beside mmcv-lite; call right before it is needed.

    Why: mmseg 1.2 imports ``mmcv.ops``, whose compiled half ``mmcv._ext`` only the full mmcv has. A compiled mmcv, if
    there is one, is left alone. Goes when mmsegmentation imports ``mmcv.ops`` lazily (not in 1.2.2).
    """
    if "mmcv._ext" in sys.modules or importlib.util.find_spec("mmcv._ext") is not None:
        return
    stand_in = _UncompiledOps("mmcv._ext")
    stand_in.__spec__ = ModuleSpec("mmcv._ext", loader=None)
    sys.modules["mmcv._ext"] = stand_in


def start_cpu_group() -> dict[str, Any]:
    """Joins torchrun's processes over gloo, and says how to wrap a model for them.

    Why: mmengine's ``init_dist`` selects a CUDA device whatever the backend, and its default wrapper names one. Goes
    when mmengine starts gloo without a driver (not in 0.10.7).

    Returns:
        ``model_wrapper_cfg`` for the Runner.
    """
    import torch.distributed as dist

    if missing := [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ValueError(
            f"launcher 'pytorch' needs torchrun's environment ({', '.join(missing)} not set); "
            "start with: torchrun --nproc-per-node N -m ovperc train CONFIG --launcher pytorch"
        )
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return {"type": "MMDistributedDataParallel", "device_ids": None, "broadcast_buffers": False}


def tune_allocator() -> bool:
    """Keeps freed memory in the process (glibc only), as training on CPU frees and asks for the same sizes each step.

    Why: glibc returns large blocks to the kernel at once, and the page faults make CPU training several times slower.
    Goes when torch ships an allocator of its own for the CPU.

    Returns:
        Whether the settings were taken.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl and others
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # M_* of malloc.h
    settings = {mmap_max: 0, trim_threshold: 2**31 - 1, top_pad: 2**28}
    taken = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(taken)
