"""Damaged checkpoints of every reader end in CheckpointError, never in what a library raised."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from ovperc.training.checkpoint import read_run_checkpoint
from ovperc.weights.errors import CheckpointError
from ovperc.weights.reading import read_checkpoint

TABLE = {"proj.weight": torch.randn(4, 4), "count": torch.arange(3)}
RUN = {
    "state_dict": TABLE,
    "message_hub": {"loss": HistoryBuffer([1.0, 2.0], [1, 1])},
    "random_states": [b"state", np.arange(3)],
}
WRITERS: dict[str, Callable[[Path], object]] = {
    "run.pth": lambda path: torch.save(RUN, path),
    "old.pth": lambda path: torch.save(RUN, path, _use_new_zipfile_serialization=False),
    "weights.safetensors": lambda path: save_file(TABLE, path),
    "weights.npz": lambda path: np.savez(path, **{name: value.numpy() for name, value in TABLE.items()}),
}


@pytest.mark.parametrize("read", [read_run_checkpoint, read_checkpoint])
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.filterwarnings("ignore")
def test_mutated_checkpoints(tmp_path, name, read):
    path = tmp_path / name
    WRITERS[name](path)
    whole, chance, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content) if chance.random() < 0.5 else 200)] = chance.randrange(256)
        if chance.random() < 0.15:
            del content[chance.randrange(len(content)) :]
        path.write_bytes(content)
        try:
            read(path)
        except CheckpointError as error:
            refused += 1
            assert name in str(error)
    assert refused > 10
