"""What alignment training leaves behind: averaged weights, in the authors' layout or as a small packed file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from ovperc.backbones.mini_archs import ARCH, save_packed
from ovperc.core.atomic import atomic_write
from ovperc.core.command_line import command_line
from ovperc.registry import HOOKS
from ovperc.training.checkpoint import latest_checkpoint, read_run_checkpoint


def save_released(path: str | Path, state: Mapping[str, Tensor], epoch: int, name: str) -> None:
    """Writes a dual encoder as CLIM's and CLIPSelf's authors do, ``{epoch, name, state_dict}``."""
    stored = {key: value.detach().cpu().clone() for key, value in state.items()}
    with atomic_write(path) as (temporary,):
        torch.save({"epoch": epoch, "name": name, "state_dict": stored}, temporary)


@HOOKS.register_module()
class AveragedWeightsHook(Hook):
    """Writes the average of trained and original weights when training ends.

    Training itself goes on with its own weights, so a resumed run is what an unbroken one would have been. The share
    is the model's ``ensemble_ratio``. The file is ``WORK_DIR/NAME.pt``, or ``NAME.safetensors`` for clip-mini, packed.

    Args:
        name: of the file, and of the catalogue row.
    """

    priority = "LOWEST"

    def __init__(self, name: str) -> None:
        self.name = name

    def after_train(self, runner: Any) -> None:
        """Exports the last checkpoint, on the main process."""
        path = latest_checkpoint(runner.work_dir)
        if path is None or not is_main_process():
            return
        model = getattr(runner.model, "module", runner.model)
        state = model.export_state(read_run_checkpoint(path)["state_dict"])
        save_aligned(Path(runner.work_dir), self.name, state, model.clip.arch, runner.iter, runner.seed)


def save_aligned(folder: Path, name: str, state: Mapping[str, Tensor], arch: str, step: int, seed: int) -> Path:
    """Writes a dual encoder in the file that fits its architecture; returns its path."""
    if arch != ARCH:
        save_released(folder / f"{name}.pt", state, step, name)
        return folder / f"{name}.pt"
    from ovperc.data.world.contrastive import CompactTokenizer

    command = shlex.join(command_line())
    save_packed(folder / f"{name}.safetensors", dict(state), CompactTokenizer().ids, seed, command)
    return folder / f"{name}.safetensors"
