"""Configs of alignment: each trains a step, a killed run of CLIM resumes to the same weights, files load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from ovperc.backbones.loading import load_clip
from ovperc.training.checkpoint import read_run_checkpoint
from ovperc.training.train import train

QUIET = {"default_hooks.logger.interval": 1}
SCENES = {
    "train_dataloader.dataset.scenes": 2,
    "train_dataloader.dataset.style": {"bank_tiles": 1},
    "train_cfg.max_iters": 1,
    "default_hooks.checkpoint.interval": 1,
    **QUIET,
}
TILES = {
    "train_dataloader.dataset.stages": [{"crops": 13, "scenes": 0}],
    "train_dataloader.dataset.style": {"bank_tiles": 1},
    "train_cfg.max_iters": 4,
    "default_hooks.checkpoint.interval": 2,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
    **QUIET,
}


@pytest.mark.parametrize("name", ["clipself_mini", "filip_mini", "grain_mini", "locality_mini"])
def test_each_objective_trains_from_its_config(name: str, tmp_path: Path) -> None:
    summary = train(f"configs/train/{name}.py", work_dir=tmp_path, overrides=SCENES)
    assert 0 < summary.metrics["train/loss"] < 100
    file = tmp_path / f"{name.replace('_', '-')}.safetensors"
    clip = load_clip("clip-mini", file)
    assert clip.backbone.embed_dim == load_clip().backbone.embed_dim


def test_clim_resumes_to_the_same_weights(tmp_path: Path) -> None:
    train("configs/train/clim_mini.py", work_dir=tmp_path / "whole", overrides=TILES)
    train("configs/train/clim_mini.py", work_dir=tmp_path / "broken", overrides=TILES)
    (tmp_path / "broken" / "iter_4.pth").unlink()
    (tmp_path / "broken" / "last_checkpoint").write_text(str(tmp_path / "broken" / "iter_2.pth"))
    train("configs/train/clim_mini.py", work_dir=tmp_path / "broken", overrides=TILES, resume=True)
    whole, broken = (read_run_checkpoint(tmp_path / run / "iter_4.pth")["state_dict"] for run in ("whole", "broken"))
    assert all(torch.equal(value, broken[name]) for name, value in whole.items())
    files = [tmp_path / run / "clip-mini-clim.safetensors" for run in ("whole", "broken")]
    towers = [load_clip("clip-mini", file).backbone.state_dict() for file in files]
    assert all(torch.equal(value, towers[1][name]) for name, value in towers[0].items())


def test_schedules_of_the_papers() -> None:
    clim, clipself = (Config.fromfile(f"configs/train/{name}.py") for name in ("clim", "clipself"))
    assert (clim.train_dataloader.batch_size, clim.model.trained_blocks, clim.model.ensemble_ratio) == (32, 6, 0.7)
    assert clim.train_cfg.max_iters == 92411
    assert (clipself.train_dataloader.batch_size, clipself.model.trained_blocks) == (2, 12)
    for config in (clim, clipself):
        optimizer = config.optim_wrapper.optimizer
        assert (optimizer.lr, optimizer.weight_decay, optimizer.betas) == (1e-5, 0.1, (0.9, 0.98))
        assert config.param_scheduler[0].end == 1000
