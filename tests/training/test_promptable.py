"""Training of the promptable segmenter: what learns, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper

from helpers.tiny_sam import SETTINGS
from ovperc.backbones.sam import load_sam
from ovperc.data.world.prompts import WorldPrompts
from ovperc.training.export_weights import save_weights
from ovperc.training.promptable import PROMPT_KINDS, PromptableSegmenter, choose_prompts

SMALL = {**SETTINGS, "image_px": 112, "window": 5}


def test_every_kind_of_prompt_gives_losses():
    torch.manual_seed(0)
    task = PromptableSegmenter(SMALL)
    batch = WorldPrompts(1, scenes=2, prompts=2)[0]
    for kind in PROMPT_KINDS:
        losses = task(batch, kind=kind)
        assert ("loss_best" in losses) == (kind == "point")
        assert all(torch.isfinite(value) for value in losses.values())
        logits, quality = task(batch, mode="tensor", kind=kind)
        assert logits.shape == (4, 4, 56, 56)
        assert quality.shape == (4, 4)
    assert sum(PROMPT_KINDS.values()) == pytest.approx(1.0)
    prompts = choose_prompts(batch, "box+point")
    assert prompts.masks is None
    assert prompts.labels.tolist() == [[1.0]] * 4


def test_a_step_learns_and_the_file_is_segment_anythings(tmp_path: Path):
    torch.manual_seed(0)
    task = PromptableSegmenter(SMALL)
    batch = WorldPrompts(1, scenes=2, prompts=2)[0]
    optimizer = OptimWrapper(torch.optim.AdamW(task.parameters(), lr=1e-3))
    before = task(batch, kind="box")["loss_single"].item()
    for _ in range(4):
        task.train_step(batch, optimizer)
    assert task(batch, kind="box")["loss_single"].item() < before
    save_weights(tmp_path / "sam.safetensors", task.export_state(task.state_dict()), {"name": "tiny"})
    loaded = load_sam(tmp_path / "sam.safetensors").sam.state_dict()
    for name, value in task.sam.state_dict().items():
        assert torch.allclose(loaded[name], value, atol=2e-3)
