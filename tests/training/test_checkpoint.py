"""Checkpoints: safe to read, written whole, clear about what is wrong with a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint, save_checkpoint
from safetensors.torch import save_file
from torch import nn

from ovperc.core.atomic import atomic_write, remove_leftovers
from ovperc.core.random_state import RandomState
from ovperc.training.checkpoint import latest_checkpoint, read_run_checkpoint
from ovperc.training.compat import ATOMIC_BACKEND, prepare_mmengine
from ovperc.weights.reading import CheckpointError


class Malicious:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.fixture
def run_checkpoint(tmp_path: Path) -> Path:
    """What a Runner stores, log buffers and numpy values included."""
    path = tmp_path / "iter_10.pth"
    torch.save(
        {
            "meta": {"iter": 10, "seed": 3},
            "state_dict": {"weight": torch.arange(6.0).view(2, 3)},
            "message_hub": {"log_scalars": {"train/loss": HistoryBuffer([1.0, 2.0], [1, 1])}, "best": np.float32(3.5)},
            "random_states": [RandomState.capture().to_plain()],
        },
        path,
    )
    return path


def test_run_checkpoint_with_log_buffers_and_numpy_values_is_read(run_checkpoint: Path) -> None:
    stored = read_run_checkpoint(run_checkpoint)
    assert stored["message_hub"]["log_scalars"]["train/loss"].mean() == 1.5
    assert stored["message_hub"]["best"] == 3.5
    assert RandomState.from_plain(stored["random_states"][0]).python == RandomState.capture().python


@pytest.mark.parametrize("layout", ["safetensors", "bare", "nested", "distributed"])
def test_weights_in_other_layouts_are_read(tmp_path: Path, layout: str) -> None:
    weights = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    path = tmp_path / ("w.safetensors" if layout == "safetensors" else "w.pth")
    if layout == "safetensors":
        save_file(weights, path)
    elif layout == "distributed":
        torch.save({f"module.{name}": value for name, value in weights.items()}, path)
    else:
        torch.save({"model": weights} if layout == "nested" else weights, path)
    prepare_mmengine()
    model = nn.Linear(3, 2)
    load_checkpoint(model, str(path), strict=True)
    assert torch.equal(model.weight, weights["weight"]) and torch.equal(model.bias, weights["bias"])


@pytest.mark.parametrize("where", ["meta", "state_dict", "message_hub"])
def test_malicious_pickles_are_refused(run_checkpoint: Path, tmp_path: Path, where: str) -> None:
    witness = tmp_path / "executed"
    stored = torch.load(run_checkpoint, weights_only=False)
    stored[where]["payload"] = Malicious(os.system, f"touch {witness}")
    torch.save(stored, run_checkpoint)
    prepare_mmengine()
    for read in (read_run_checkpoint, lambda path: CheckpointLoader.load_checkpoint(str(path), "cpu")):
        with pytest.raises(CheckpointError):
            read(run_checkpoint)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("owner", "name"), [(HistoryBuffer, "__init__"), (HistoryBuffer, "__subclasses__"), (str, "format")]
)
def test_getattr_gives_log_buffer_methods_only(tmp_path: Path, owner: Any, name: str) -> None:
    path = tmp_path / "attribute.pth"
    torch.save({"state_dict": {}, "found": Malicious(getattr, owner, name)}, path)
    with pytest.raises(CheckpointError):
        read_run_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer"),
        (b"<!DOCTYPE html>", "web page"),
        (b"not a checkpoint at all", "not a checkpoint"),
    ],
)
def test_files_that_are_no_checkpoints_say_so(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_run_checkpoint(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_checkpoint_says_so(run_checkpoint: Path, share: float) -> None:
    data = run_checkpoint.read_bytes()
    run_checkpoint.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="truncated"):
        read_run_checkpoint(run_checkpoint)


def test_missing_file_and_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        read_run_checkpoint(tmp_path / "gone.pth")
    prepare_mmengine()
    for address in ("https://example.org/weights.pth", "torchvision://resnet18"):
        with pytest.raises(ValueError, match="pass the file's path"):
            CheckpointLoader.load_checkpoint(address)


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_mmengine()
    path = tmp_path / "iter_5.pth"
    save_checkpoint({"state_dict": {"step": torch.tensor(1)}}, str(path), backend_args={"backend": ATOMIC_BACKEND})

    def disk_full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint({"state_dict": {"step": torch.tensor(2)}}, str(path), backend_args={"backend": ATOMIC_BACKEND})
    assert int(read_run_checkpoint(path)["state_dict"]["step"]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["iter_5.pth"]


def test_latest_checkpoint_goes_by_number_and_leftovers_go(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    killed = subprocess.Popen(["true"])
    killed.wait()
    with atomic_write(tmp_path / "iter_20000.pth") as (temporary,):
        temporary.touch()
        leftover = temporary.with_name(temporary.name.replace(f"-{os.getpid()}-", f"-{killed.pid}-"))
    (tmp_path / "iter_20000.pth").unlink()
    for name in ("iter_9000.pth", "iter_10000.pth", "best_mIoU_iter_11000.pth", leftover.name):
        (tmp_path / name).touch()
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_10000.pth"
    remove_leftovers(tmp_path)
    assert not leftover.exists() and len(list(tmp_path.iterdir())) == 3
