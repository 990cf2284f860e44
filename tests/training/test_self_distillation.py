"""Self-distillation: who is compared with whom, who learns, and that a resumed run ends the same."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.optim import OptimWrapper

from ovperc.backbones.dino import load_dino
from ovperc.data.world.views import WorldViewPairs
from ovperc.training.checkpoint import read_run_checkpoint
from ovperc.training.losses.distillation import soft_cross_entropy
from ovperc.training.self_distillation import SelfDistillation
from ovperc.training.train import train


def model(**settings) -> SelfDistillation:
    torch.manual_seed(0)
    return SelfDistillation(prototypes=8, **settings)


def test_patches_answer_for_the_same_place_of_the_scene():
    generator = torch.Generator().manual_seed(1)
    said = torch.randn(1, 16, 8, generator=generator)
    targets = torch.softmax(torch.randn(1, 16, 8, generator=generator), -1)
    shift = torch.tensor([[1, -2]])  # window 1 begins one patch below and two left of window 0
    result = model(reach=0)._patch_loss(said, targets, shift)
    rows = []
    for y in range(4):
        for x in range(4):
            there_y, there_x = y - 1, x + 2
            if 0 <= there_y < 4 and 0 <= there_x < 4:
                rows.append(soft_cross_entropy(said[0, y * 4 + x], targets[0, there_y * 4 + there_x]))
    assert len(rows) == 6
    assert torch.allclose(result, torch.stack(rows).mean(), atol=1e-6)


def test_one_step_moves_the_student_and_the_teacher_follows():
    task = model(momentum=0.9)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    batch = WorldViewPairs(1, scenes=2)[0]
    task.train_step(batch, OptimWrapper(torch.optim.SGD(task.parameters(), lr=0.1)))
    after = task.state_dict()
    name = "blocks.0.attn.qkv.weight"
    student, teacher = after[f"student.{name}"], after[f"teacher.{name}"]
    assert not torch.equal(student, before[f"student.{name}"])
    assert torch.allclose(teacher, before[f"teacher.{name}"].lerp(student, 0.1), atol=1e-6)
    assert int(after["step"]) == 1
    assert not any(parameter.requires_grad for parameter in task.teacher.parameters())


def test_training_resumes_and_its_file_loads(tmp_path: Path):
    small = {
        "train_cfg.max_iters": 4,
        "train_dataloader.dataset.scenes": 2,
        "default_hooks.checkpoint.interval": 2,
        "model.prototypes": 8,
    }
    train("dino_mini", work_dir=tmp_path / "whole", overrides=small)
    train("dino_mini", work_dir=tmp_path / "broken", overrides=small)
    (tmp_path / "broken" / "iter_4.pth").unlink()
    train("dino_mini", work_dir=tmp_path / "broken", overrides=small, resume=True)
    whole, broken = (read_run_checkpoint(tmp_path / name / "iter_4.pth")["state_dict"] for name in ("whole", "broken"))
    assert all(torch.equal(value, broken[name]) for name, value in whole.items())
    loaded = load_dino(tmp_path / "whole" / "dino-mini.safetensors", "dino-mini")
    weight = loaded.backbone.tower.state_dict()["blocks.0.attn.qkv.weight"]
    assert torch.allclose(weight, whole["teacher.blocks.0.attn.qkv.weight"], atol=1e-3)
    assert loaded.backbone.stride_px == 4
