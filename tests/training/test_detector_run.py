"""The shipped recipe, in small: a run that is broken off ends where an unbroken one does, and two processes agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ovperc.tasks.detection.weights import read_heads
from ovperc.training.checkpoint import read_run_checkpoint
from ovperc.training.train import train

ROOT = Path(__file__).parents[2]
SMALL = {
    "train_cfg.max_iters": 4,
    "train_dataloader.dataset.scenes": 2,
    "model.samples": 8,
    "model.distill.regions": 2,
    "default_hooks.checkpoint.interval": 2,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_run_checkpoint(path)["state_dict"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of an unbroken run in one process; not to be written to."""
    work_dir = tmp_path_factory.mktemp("fvlm") / "whole"
    train("fvlm_mini", work_dir=work_dir, overrides=SMALL)
    return work_dir


def test_resumed_training_ends_with_the_same_weights(whole: Path, tmp_path: Path) -> None:
    train("fvlm_mini", work_dir=tmp_path, overrides=SMALL)
    (tmp_path / "iter_4.pth").unlink()
    torch.rand(5)
    train("fvlm_mini", work_dir=tmp_path, overrides=SMALL, resume=True)
    first, second = (weights(work_dir / "iter_4.pth") for work_dir in (whole, tmp_path))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    heads = read_heads(whole / "fvlm-mini.safetensors")
    assert heads.compose and "star" in heads.base_words


@pytest.mark.slow
def test_two_processes_keep_equal_weights_that_both_have_shaped(whole: Path, tmp_path: Path) -> None:
    options = [f"{name}={value}" for name, value in SMALL.items()]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29631"]
    command += [str(ROOT / "tools" / "train.py"), "fvlm_mini", "--launcher", "pytorch", "--work-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "--cfg-options", *options], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    together, alone = weights(tmp_path / "iter_4.pth"), weights(whole / "iter_4.pth")
    assert any(not torch.equal(together[name], alone[name]) for name in together)
