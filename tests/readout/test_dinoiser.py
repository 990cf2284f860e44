"""CLIP-DINOiser's readout and background rule against a plain implementation and a truth table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from helpers.plain_methods import embed, last_block_method
from helpers.tiny_models import WIDTH, tiny_clip, tiny_open_clip
from ovperc.affinity import AttentionInputs, GuideAffinity
from ovperc.core.background import Background
from ovperc.core.structures import DenseEmbeddings, GuideFeatures, TextBank
from ovperc.readout import BlockReadout, DinoiserHeads, DinoiserReadout, PooledReadout
from ovperc.readout.dinoiser import load_heads
from ovperc.text.foreground import ForegroundRule
from ovperc.text.patch_scores import CosineScores
from ovperc.training.dinoiser import save_released_layout
from ovperc.weights.reading import CheckpointError


def heads(seed: int = 0) -> DinoiserHeads:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DinoiserHeads(WIDTH, 8).eval()


@torch.no_grad()
def plain(images: torch.Tensor, head: DinoiserHeads, gamma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The released order of things, on open_clip's modules: the tower once more for every feature."""
    visual = tiny_open_clip("vit", seed=3).visual
    tokens, grid = embed(visual, images)
    block = visual.transformer.resblocks[0]  # three blocks: two before the last is the first
    tokens = tokens + block.attention(block.ln_1(tokens))
    g = block.ln_2(tokens)[:, 1:].transpose(1, 2).unflatten(2, grid)
    padded = F.pad(g, (1, 1, 1, 1), mode="replicate")
    e = F.normalize(F.conv2d(padded, head.obj_proj.weight, head.obj_proj.bias), dim=1).flatten(2)
    tokens, _ = embed(visual, images)
    for other in visual.transformer.resblocks[:-1]:
        tokens = other(tokens)
    last = visual.transformer.resblocks[-1]
    width = last.attn.embed_dim
    value = last.ln_1(tokens) @ last.attn.in_proj_weight[2 * width :].T + last.attn.in_proj_bias[2 * width :]
    out = tokens + value @ last.attn.out_proj.weight.T + last.attn.out_proj.bias
    out = out + last.mlp(last.ln_2(out))
    v = visual.ln_post(out)[:, 1:] @ visual.proj
    pooled = []
    for image in range(len(images)):
        c = e[image].T @ e[image]
        c[c < gamma] = 0
        pooled.append(c @ v[image] / (c.sum(-1, keepdim=True) + 1e-6))
    b = F.conv2d(g / g.norm(dim=1, keepdim=True), head.bkg_decoder.weight, head.bkg_decoder.bias)[:, 0]
    unit = F.normalize(torch.stack(pooled), dim=-1)
    return unit.transpose(1, 2).unflatten(2, grid), b


def test_readout_is_the_plain_one():
    images = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(5))
    expected, foreground = plain(images, heads(), 0.2)
    backbone, readout = tiny_clip("vit", seed=3).backbone, DinoiserReadout(heads=heads())
    with torch.inference_mode():
        result = readout(backbone, backbone.forward_dense(images, readout.taps(backbone)))
    assert (result.patches - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (result.foreground - foreground).abs().max() <= 1e-4 * foreground.abs().max()


@pytest.mark.parametrize(
    ("best", "logit", "background"),
    [(0.98, -1.0, True), (0.98, 0.0, True), (0.98, 1e-3, False), (0.995, -1.0, False)],
)
def test_background_rule_truth_table(best: float, logit: float, background: bool):
    """A patch with a best probability and a foreground logit; sigmoid(0) = 0.5 still is background."""
    gap = torch.logit(torch.tensor(best)) / 100
    scores = CosineScores(torch.tensor([[[0.0], [gap]]]).float(), torch.eye(2), 8)
    bank = TextBank(torch.eye(2), torch.tensor([0, 1]), ("background", "cat"), "x", Background(words=("background",)))
    embeddings = DenseEmbeddings(torch.zeros(1, 2, 1, 1), foreground=torch.full((1, 1, 1), logit))
    result = ForegroundRule()(scores, embeddings, bank).compute(slice(0, 2))[0, :, 0]
    assert result[1].item() == pytest.approx(best, abs=1e-4)
    assert result[0].item() == pytest.approx(1.0 if background else 1 - best, abs=1e-4)
    plain_bank = TextBank(torch.eye(2), torch.tensor([0, 1]), ("dog", "cat"), "x")
    without = ForegroundRule()(scores, embeddings, plain_bank).compute(slice(0, 2))[0, :, 0]
    assert without.tolist() == pytest.approx([1 - best, best], abs=1e-4)


def test_released_layout_loads_and_strangers_are_passed_over(tmp_path: Path):
    state = heads().state_dict()
    save_released_layout(tmp_path / "last.pt", {**state, "clip_backbone.weight": torch.zeros(1)}, epoch=99)
    loaded = load_heads(tmp_path / "last.pt")
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    assert loaded.obj_proj.padding_mode == "replicate"
    published = DinoiserHeads(768)
    assert sum(p.numel() for p in published.parameters()) == 768 * 256 * 9 + 256 + 768 + 1


def test_errors_name_what_is_wrong(tmp_path: Path):
    with pytest.raises(ValueError, match=r"width 16, the tower has 32"):
        DinoiserReadout(heads=DinoiserHeads(16)).taps(tiny_clip("vit").backbone)
    with pytest.raises(ValueError, match="either weights"):
        DinoiserReadout()
    with pytest.raises(FileNotFoundError, match="no weights file"):
        DinoiserReadout(weights=tmp_path / "last.pt")
    with pytest.raises(ValueError, match="unknown weights"):
        load_heads("dinoiser")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"obj_proj\.weight"):
        load_heads(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="delta"):
        ForegroundRule(delta=2)


def test_pooling_averages_embeddings_before_they_are_normalised():
    backbone = tiny_clip("vit", seed=3).backbone
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(5))
    unit = F.normalize(torch.randn(2, 36, 5, generator=torch.Generator().manual_seed(1)) + 0.4, dim=-1)
    guide = GuideFeatures(unit, (6, 6), unit.mean(1).square().sum(-1))
    readout, inner = PooledReadout(affinity=GuideAffinity()), BlockReadout({"type": "Identity"})
    with torch.inference_mode():
        features = backbone.forward_dense(images, readout.taps(backbone))
        result = readout(backbone, features, guide).patches.flatten(2).transpose(1, 2)
        raw = inner.embed(backbone, features, None)
        weights = GuideAffinity().weights(AttentionInputs({"v": raw[:, None]}, (6, 6), 0, guide))[:, 0]
    assert torch.allclose(result, F.normalize(weights @ raw, dim=-1), atol=1e-5)
    whole = last_block_method(tiny_open_clip("vit", seed=3).visual, images, "identity", residual=True, ffn=True)
    assert torch.allclose(F.normalize(raw, dim=-1).transpose(1, 2).unflatten(2, (6, 6)), whole, atol=1e-4)
