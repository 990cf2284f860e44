"""sam-mini and the heads of CLIP-DINOiser: a broken and resumed run ends with the weights of a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ovperc.training.checkpoint import read_run_checkpoint
from ovperc.training.train import train

CONFIGS = Path(__file__).parents[2] / "configs" / "train"
STEPS = 4
SHORT = {
    "iterations": STEPS,
    "train_cfg.max_iters": STEPS,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "train_dataloader.dataset.length": STEPS,
    "train_dataloader.dataset.scenes": 1,
    "default_hooks.checkpoint.interval": 2,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
}
SMALL_SAM = {
    "model.sam.width": 32,
    "model.sam.depth": 2,
    "model.sam.num_heads": 2,
    "model.sam.global_layers": (1,),
    "model.sam.channels": 32,
    "model.sam.decoder_mlp": 32,
    "train_dataloader.dataset.prompts": 2,
}
SMALL_HEADS = {"model.channels": 8, "train_dataloader.dataset.window_px": 56}


@pytest.mark.slow
@pytest.mark.parametrize(("config", "more"), [("sam_mini", SMALL_SAM), ("dinoiser_mini", SMALL_HEADS)])
def test_resumed_weights_are_those_of_an_unbroken_run(config: str, more: dict, tmp_path: Path) -> None:
    overrides = {**SHORT, **more}
    train(CONFIGS / f"{config}.py", work_dir=tmp_path / "whole", overrides=overrides)
    train(CONFIGS / f"{config}.py", work_dir=tmp_path / "broken", overrides=overrides)
    (tmp_path / "broken" / f"iter_{STEPS}.pth").unlink()
    torch.rand(5)
    train(CONFIGS / f"{config}.py", work_dir=tmp_path / "broken", overrides=overrides, resume=True)
    whole, broken = (
        read_run_checkpoint(tmp_path / run / f"iter_{STEPS}.pth")["state_dict"] for run in ("whole", "broken")
    )
    halfway = read_run_checkpoint(tmp_path / "whole" / "iter_2.pth")["state_dict"]
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert any(not torch.equal(whole[name], halfway[name]) for name in whole)
