"""Training of CLIP-DINOiser's heads: losses by hand, what learns, schedule, teachers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from PIL import Image

from helpers.tiny_guide import tiny_dino
from helpers.tiny_models import tiny_clip
from ovperc.backbones.clip_timm import TimmTransformer
from ovperc.backbones.dino import VisionModel
from ovperc.data.pictures import PictureFolder
from ovperc.data.world.views import WorldViewPairs
from ovperc.readout.dinoiser import load_heads
from ovperc.tiling.preprocess import Preprocess
from ovperc.training import teachers
from ovperc.training.dinoiser import DinoiserTraining, save_released_layout
from ovperc.training.losses.dinoiser import affinity_loss, foreground_loss
from ovperc.weights.entry import IMAGENET_MEAN, IMAGENET_STD
from ovperc.weights.reading import CheckpointError


def vision_model() -> VisionModel:
    backbone = TimmTransformer(tiny_dino(), "scale")
    return VisionModel(backbone, Preprocess(IMAGENET_MEAN, IMAGENET_STD, 24), "tiny", "random")


def training() -> DinoiserTraining:
    torch.manual_seed(0)
    return DinoiserTraining(tiny_clip("vit"), vision_model(), lambda x: (x[:, 0, ::8, ::8] > 0.5).float(), channels=8)


def test_losses_by_hand():
    zeros = torch.zeros(1, 3, 3)
    assert affinity_loss(zeros, torch.eye(3)[None]).item() == pytest.approx(math.log(2), abs=1e-6)
    ones = torch.ones(1, 2, 2)
    assert affinity_loss(ones, ones).item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)
    below = torch.full((1, 2, 2), -0.3, requires_grad=True)
    affinity_loss(below, ones).backward()
    assert torch.equal(below.grad, torch.zeros(1, 2, 2))
    at_edge = affinity_loss(ones, torch.full((1, 2, 2), 0.2))
    assert at_edge.item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)
    chance = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])  # a mean of 0.75 on one cell
    assert foreground_loss(torch.full((1, 1, 1), 2.0), chance).item() == pytest.approx(math.log(1 + math.exp(-2)))
    even = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])  # exactly 0.5 is background
    assert foreground_loss(torch.full((1, 1, 1), 2.0), even).item() == pytest.approx(2 + math.log(1 + math.exp(-2)))


def test_one_step_changes_the_heads_only():
    task = training()
    clip, dino, _ = task._frozen
    towers = (clip.backbone, dino.backbone)
    frozen = [{name: value.clone() for name, value in tower.state_dict().items()} for tower in towers]
    before = {name: value.clone() for name, value in task.state_dict().items()}
    parts = [f"{head}.{part}" for head in ("obj_proj", "bkg_decoder") for part in ("weight", "bias")]
    assert set(before) == {f"heads.{part}" for part in parts}
    batch = WorldViewPairs(1, scenes=2, window_px=48)[0]
    logs = task.train_step(batch, OptimWrapper(torch.optim.SGD(task.parameters(), lr=0.1)))
    assert set(logs) == {"loss", "loss_affinity", "loss_foreground"}
    assert all(not torch.equal(value, before[name]) for name, value in task.state_dict().items())
    for tower, state in zip(towers, frozen, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in tower.state_dict().items())
    similarity, logits = task(torch.rand(2, 3, 48, 56), mode="tensor")
    assert similarity.shape == (2, 42, 42)
    assert logits.shape == (2, 6, 7)


def test_what_is_kept_is_the_released_layout(tmp_path: Path):
    task = training()
    save_released_layout(tmp_path / "last.pt", task.export_state(task.state_dict()), epoch=1)
    stored = torch.load(tmp_path / "last.pt", weights_only=True)
    assert set(stored) == {"epoch", "model_state_dict"}
    loaded = load_heads(tmp_path / "last.pt")
    assert torch.equal(loaded.obj_proj.weight, task.heads.obj_proj.weight)


def test_schedule_of_the_paper():
    config = Config.fromfile("configs/train/clip_dinoiser.py")
    optimizer, schedule = config.optim_wrapper, config.param_scheduler[0]
    assert optimizer.optimizer.lr == 5e-5
    assert optimizer.optimizer.lr * optimizer.paramwise_cfg.custom_keys.bkg_decoder.lr_mult == pytest.approx(1e-2)
    assert (schedule.type, schedule.milestones, schedule.gamma) == ("MultiStepLR", [5000], 0.1)
    assert schedule.by_epoch is False
    assert config.train_dataloader.batch_size == 16


def test_found_reads_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = vision_model()
    monkeypatch.setattr(teachers, "load_dino", lambda *_, **__: model)
    weight, bias = torch.randn(1, 16, 1, 1), torch.randn(1)
    torch.save({"decoder": {"weight": weight, "bias": bias}}, tmp_path / "decoder.pt")
    pixels = torch.rand(2, 3, 24, 28)
    result = teachers.FoundTeacher("x", tmp_path / "decoder.pt")(pixels)
    with torch.inference_mode():
        images = teachers.normalized(pixels, model)
        keys = model.backbone.forward_dense(images, ["-1.k"]).patches("-1.k")
    expected = torch.sigmoid(keys @ weight.flatten() + bias).unflatten(1, (6, 7))
    assert torch.allclose(result, expected, atol=1e-5)
    torch.save({"decoder": {"weight": weight[:, :8], "bias": bias}}, tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match="width 16"):
        teachers.FoundTeacher("x", tmp_path / "small.pt")


def test_the_border_is_background(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(teachers, "load_dino", lambda *_, **__: vision_model())
    pixels = torch.full((1, 3, 32, 32), 0.2)
    pixels[:, :, 12:20, 12:20] = torch.tensor([0.9, 0.1, 0.9]).view(1, 3, 1, 1)
    result = teachers.BorderTeacher("x", threshold=0.9)(pixels)
    assert result.shape == (1, 8, 8)
    assert set(result.unique().tolist()) <= {0.0, 1.0}


def test_pictures_of_a_folder(tmp_path: Path):
    for index, size in enumerate([(30, 50), (64, 20)]):
        Image.fromarray(np.full((*size, 3), 60 * index + 60, np.uint8)).save(tmp_path / f"{index}.png")
    folder = PictureFolder(tmp_path, size_px=32, sample=5)
    assert len(folder) == 5
    assert [path.name for path in folder.files] == [path.name for path in PictureFolder(tmp_path, 32, 5).files]
    picture = folder[0]
    assert picture.shape == (3, 32, 32)
    assert 0.0 <= float(picture.min()) <= float(picture.max()) <= 1.0
    with pytest.raises(FileNotFoundError, match="no images"):
        PictureFolder(tmp_path / "empty")
