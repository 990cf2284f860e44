"""Learned prompts: rows that are replaced, the released layout, and files that are something else."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from helpers.tiny_models import TEXT_CFG, tiny_clip
from ovperc.tasks.anomaly.learned_prompts import LearnedPrompts, PromptTexts
from ovperc.weights.reading import CheckpointError

WIDTH = TEXT_CFG["width"]


def _prompts(contexts: int = 5, deep_length: int = 3) -> LearnedPrompts:
    torch.manual_seed(1)
    prompts = LearnedPrompts(WIDTH, contexts, depth=2, deep_length=deep_length)
    return prompts.requires_grad_(False)


def _explicit(tower, prompts: LearnedPrompts) -> torch.Tensor:
    """The full context of 77 rows, block by block, with rows written in place."""
    inner, contexts = tower.tower, prompts.ctx_pos.shape[2]
    answers = []
    for words, learned in (("object.", prompts.ctx_pos), ("damaged object.", prompts.ctx_neg)):
        ids = tower.tokenizer(["X " * contexts + words])[0]
        hidden = inner.token_embedding(ids)[None].clone()
        hidden[0, 1 : 1 + contexts] = learned[0, 0]
        hidden = hidden + inner.positional_embedding
        for layer, block in enumerate(inner.transformer.resblocks):
            if layer == 1:
                hidden = hidden.clone()
                deep = prompts.compound_prompts_text[0].half().float()  # the reference rounds them at every use
                hidden[0, 1 : 1 + len(deep)] = deep
            hidden = block(hidden, attn_mask=inner.attn_mask)
        row = inner.ln_final(hidden)[0, ids.argmax()] @ inner.text_projection
        answers.append(row / row.norm())
    return torch.stack(answers)


@torch.no_grad()
@pytest.mark.parametrize(("contexts", "deep_length"), [(5, 3), (12, 4), (4, 4)])
def test_equals_rows_written_by_hand(contexts, deep_length):
    tower, prompts = tiny_clip("vit").text, _prompts(contexts, deep_length)
    assert_close(prompts.encode(tower), _explicit(tower, prompts), atol=1e-5, rtol=1e-5)


def test_towers_stay_as_they_are_and_gradients_reach_the_prompts():
    tower, prompts = tiny_clip("vit").text, LearnedPrompts(WIDTH, 4, 2, 2)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    prompts.encode(tower).sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in prompts.parameters())
    assert all(torch.equal(before[name], value) for name, value in tower.state_dict().items())


def _released(prompts: LearnedPrompts) -> dict[str, torch.Tensor]:
    """The authors' table: what is learned, what can be rebuilt, and projections that nothing reads."""
    table = dict(prompts.state_dict())
    for side, words in (("pos", 3), ("neg", 4)):
        table[f"token_prefix_{side}"] = torch.zeros(1, 1, 1, WIDTH)
        table[f"token_suffix_{side}"] = torch.zeros(1, 1, 77 - 6, WIDTH)
        table[f"tokenized_prompts_{side}"] = torch.full((1, 1, 77), words, dtype=torch.int32)
    table["compound_prompt_projections.0.weight"] = torch.zeros(896, WIDTH)
    table["compound_prompt_projections.0.bias"] = torch.zeros(896)
    return table


@torch.no_grad()
def test_released_layout_loads_and_dead_weights_are_dropped(tmp_path):
    prompts, tower = _prompts(), tiny_clip("vit").text
    torch.save({"prompt_learner": _released(prompts)}, tmp_path / "epoch_15.pth")
    loaded = LearnedPrompts.from_file(tmp_path / "epoch_15.pth")
    assert set(loaded.state_dict()) == {"ctx_pos", "ctx_neg", "compound_prompts_text.0"}
    assert_close(loaded.encode(tower), prompts.encode(tower))
    save_file({name: value.contiguous() for name, value in loaded.state_dict().items()}, tmp_path / "own.safetensors")
    again = LearnedPrompts.from_file(tmp_path / "own.safetensors")
    assert_close(again.encode(tower), prompts.encode(tower))


def test_reading_leaves_the_random_state_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    LearnedPrompts.from_table(_prompts_table())
    assert torch.equal(torch.rand(3), wanted)


def _prompts_table() -> dict[str, torch.Tensor]:
    width = torch.zeros(1, 1, 2, WIDTH)
    return {"ctx_pos": width, "ctx_neg": width.clone(), "compound_prompts_text.0": torch.zeros(2, WIDTH)}


def test_wrong_files_and_towers():
    with pytest.raises(CheckpointError, match="ctx_neg is missing"):
        LearnedPrompts.from_table({"ctx_pos": torch.zeros(1, 1, 2, 8)})
    with pytest.raises(CheckpointError, match="logit_scale is unknown"):
        LearnedPrompts.from_table({**_prompts_table(), "logit_scale": torch.zeros(())})
    with pytest.raises(CheckpointError, match="inconsistent prompt shapes"):
        LearnedPrompts.from_table({**_prompts_table(), "ctx_neg": torch.zeros(1, 1, 3, WIDTH)})
    with pytest.raises(CheckpointError, match="0, 1"):
        LearnedPrompts.from_table({**_prompts_table(), "compound_prompts_text.7": torch.zeros(2, WIDTH)})
    with pytest.raises(FileNotFoundError, match="anomaly"):
        LearnedPrompts.from_file("anomalyclip-minni")
    tower = tiny_clip("vit").text
    with pytest.raises(ValueError, match="use matching weights"):
        LearnedPrompts(WIDTH + 2, 4, 1).encode(tower)
    with pytest.raises(ValueError, match="at most 1 deep"):
        LearnedPrompts(WIDTH, 4, 9).encode(tower)
    with pytest.raises(ValueError, match="causal"):
        LearnedPrompts(WIDTH, 4, 2).encode(tiny_clip("siglip").text)
    with pytest.raises(ValueError, match="deep_length"):
        LearnedPrompts(WIDTH, 2, 2, 4)


def test_objects_share_one_encoding():
    texts = PromptTexts(tiny_clip("vit").text, _prompts())
    assert texts("bottle") is texts("screw")
