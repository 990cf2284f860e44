"""A run that is killed and resumed ends with the very weights of an unbroken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ovperc.core import atomic
from ovperc.training.checkpoint import latest_checkpoint, read_run_checkpoint
from ovperc.training.train import train

ROOT = Path(__file__).parents[2]


def weights(work_dir: Path, iteration: int = 20) -> dict[str, torch.Tensor]:
    return read_run_checkpoint(work_dir / f"iter_{iteration}.pth")["state_dict"]


def assert_same_weights(first: Path, second: Path) -> None:
    left, right = weights(first), weights(second)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def forget_after(work_dir: Path, iteration: int) -> None:
    """Leaves the work dir as a kill before the next checkpoint would."""
    for file in work_dir.glob("iter_*.pth"):
        if int(file.stem.partition("_")[2]) > iteration:
            file.unlink()


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_weights_are_bit_identical(tiny_run: Path, tmp_path: Path, workers: int) -> None:
    overrides = {
        "train_dataloader.num_workers": workers,
        "default_hooks.checkpoint.max_keep_ckpts": -1,
        "train_dataloader.persistent_workers": workers > 0,
    }
    train(tiny_run, work_dir=tmp_path / "whole", overrides=overrides)
    train(tiny_run, work_dir=tmp_path / "broken", overrides=overrides)
    forget_after(tmp_path / "broken", 10)
    torch.rand(7)
    train(tiny_run, work_dir=tmp_path / "broken", overrides=overrides, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "broken")
    assert not torch.equal(*(weights(tmp_path / "whole", step)["layers.0.weight"] for step in (10, 20)))


def test_data_workers_do_not_change_the_result(tiny_run: Path, tmp_path: Path) -> None:
    train(tiny_run, work_dir=tmp_path / "alone")
    train(tiny_run, work_dir=tmp_path / "workers", overrides=["train_dataloader.num_workers=2"])
    assert_same_weights(tmp_path / "alone", tmp_path / "workers")


def test_validation_leaves_no_trace_and_is_made_up_on_resume(tiny_run: Path, tmp_path: Path) -> None:
    validation = {
        "default_hooks.checkpoint.max_keep_ckpts": -1,
        "val_dataloader": {
            "dataset": {"type": "NoisyLines"},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "default_collate"},
            "batch_size": 4,
        },
        "val_cfg": {},
        "val_evaluator": {"type": "MeanError"},
        "train_cfg.val_interval": 10,
    }
    train(tiny_run, work_dir=tmp_path / "plain")
    whole = train(tiny_run, work_dir=tmp_path / "validated", overrides=validation)
    assert_same_weights(tmp_path / "plain", tmp_path / "validated")
    forget_after(tmp_path / "validated", 10)
    resumed = train(tiny_run, work_dir=tmp_path / "validated", overrides=validation, resume=True)
    assert_same_weights(tmp_path / "plain", tmp_path / "validated")
    assert resumed.metrics["val/val/error"] == whole.metrics["val/val/error"]


def test_sigkill_in_the_middle_then_resume(tiny_run: Path, tmp_path: Path) -> None:
    train(tiny_run, work_dir=tmp_path / "whole")
    broken = tmp_path / "broken"
    command = [sys.executable, str(ROOT / "tools" / "train.py"), str(tiny_run), "--work-dir", str(broken)]
    process = subprocess.Popen(
        [*command, "--cfg-options", "model.pause_s=0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while latest_checkpoint(broken) is None and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = latest_checkpoint(broken)
    assert reached is not None and reached.name != "iter_20.pth"
    (broken / "last_checkpoint").write_text("")  # as a kill in the middle of mmengine's own note would leave it
    leftover = broken / atomic._temporary_name("iter_10.pth").replace(f"-{os.getpid()}-", f"-{process.pid}-")
    leftover.write_bytes(b"half a checkpoint")
    train(tiny_run, work_dir=broken, resume=True)
    assert_same_weights(tmp_path / "whole", broken)
    assert not leftover.exists()


def test_resume_without_a_checkpoint_starts_from_the_beginning(tiny_run: Path, tmp_path: Path) -> None:
    summary = train(tiny_run, work_dir=tmp_path, overrides={"train_cfg.max_iters": 5}, resume=True)
    assert summary.settings["resumed_from"] is None
    assert (tmp_path / "iter_5.pth").is_file() and (tmp_path / "summary.json").is_file()


def test_resume_from_a_missing_file_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="resume from not found"):
        train(tiny_run, work_dir=tmp_path, resume=tmp_path / "gone.pth")


def test_keeping_one_checkpoint_is_refused() -> None:
    from ovperc.training.hooks import ResumableCheckpointHook

    with pytest.raises(ValueError, match="at least 2"):
        ResumableCheckpointHook(max_keep_ckpts=1)
