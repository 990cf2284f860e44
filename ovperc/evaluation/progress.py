"""Counts of unfinished evaluations on disk, so that a killed run goes on where it stopped.

Each process of each attempt writes one part with the images it has counted, whole or not at all. Parts never
overlap, so their sum is what is done, whatever number of processes, attempts or machines (shards) made them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovperc.core.atomic import atomic_write
from ovperc.evaluation.metrics.evaluation_state import EvaluationState


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings; equal settings have equal digests, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


class ProgressFolder:
    """The parts of one evaluation.

    Args:
        work_dir: of the run.
        digest: of its settings; runs with other settings have folders of their own.
        every_s: seconds between two writes of a part; 0 writes after each image.
    """

    def __init__(self, work_dir: str | Path, digest: str, every_s: float = 30.0) -> None:
        self.folder = Path(work_dir) / f"progress-{digest[:12]}"
        self.every_s = every_s
        self._own = self.folder / f"part-{uuid.uuid4().hex}.safetensors"
        self._written = time.monotonic()

    def add_to(self, state: EvaluationState) -> int:
        """Adds all parts on disk to ``state`` and returns how many there are.

        Raises:
            ValueError: a part is damaged, or two parts hold the same image.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        parts = sorted(self.folder.glob("part-*.safetensors"))
        for path in parts:
            try:
                state.add_tensors(load_file(path))
            except (SafetensorError, ValueError) as error:
                raise ValueError(f"{path}: {error}; delete {self.folder} to score all images again") from error
        return len(parts)

    def save(self, state: EvaluationState, now: bool = False) -> None:
        """Writes this process's part if it is due, or ``now``."""
        if not now and time.monotonic() - self._written < self.every_s:
            return
        from safetensors.torch import save_file

        with atomic_write(self._own) as (temporary,):
            save_file({name: tensor.contiguous() for name, tensor in state.tensors().items()}, temporary)
        self._written = time.monotonic()

    def clear(self) -> None:
        """Deletes the parts of a finished evaluation."""
        shutil.rmtree(self.folder, ignore_errors=True)
