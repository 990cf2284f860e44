"""The file that a training run ships: weights alone, in half precision, with how they were made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from ovperc.core.atomic import atomic_write
from ovperc.core.command_line import command_line
from ovperc.registry import HOOKS
from ovperc.training.checkpoint import latest_checkpoint, read_run_checkpoint


def save_weights(path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors as safetensors, floating-point ones in float16; whole or not at all."""
    from safetensors.torch import save_file

    stored = {
        name: (value.to(torch.float16) if value.is_floating_point() else value).contiguous().clone()
        for name, value in state.items()
    }
    with atomic_write(path) as (temporary,):
        save_file(stored, temporary, metadata=dict(metadata))


@HOOKS.register_module()
class ExportWeightsHook(Hook):
    """Writes ``WORK_DIR/NAME.safetensors`` when training ends, from the last checkpoint.

    With an ``EMAHook`` a checkpoint's ``state_dict`` holds the averaged weights, so those are exported. A model with
    ``export_state(state_dict)`` chooses what is kept, and ``export_metadata()`` adds texts of its own.

    Args:
        name: of the file, and of the catalogue row.
        **metadata: texts stored beside seed, steps and command line.
    """

    priority = "LOWEST"

    def __init__(self, name: str, **metadata: str) -> None:
        self.name = name
        self.metadata = metadata

    def after_train(self, runner: Any) -> None:
        """Exports on the main process."""
        path = latest_checkpoint(runner.work_dir)
        if path is None or not is_main_process():
            return
        state = read_run_checkpoint(path)["state_dict"]
        model = getattr(runner.model, "module", runner.model)
        state = model.export_state(state) if hasattr(model, "export_state") else state
        made = {"seed": str(runner.seed), "steps": str(runner.iter), "licence": "Apache-2.0"}
        command = shlex.join(command_line())
        own = model.export_metadata() if hasattr(model, "export_metadata") else {}
        save_weights(
            Path(runner.work_dir) / f"{self.name}.safetensors",
            state,
            {"name": self.name, **made, "command": command, **own, **self.metadata},
        )
