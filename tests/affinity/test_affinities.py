"""Affinities against explicit softmax matrices and literal loops."""

from __future__ import annotations

import math
import sys
import types

import pytest
import torch

from ovperc.affinity import AttentionInputs, EnsembleAttention, Identity, NeighbourAttention, SelfAttention
from ovperc.affinity import backend as attention_backend
from ovperc.affinity.neighbour import gaussian_prior

GRID = (3, 5)


def make_inputs(prefix: int = 1, batch: int = 2, dtype: torch.dtype = torch.float32) -> AttentionInputs:
    generator = torch.Generator().manual_seed(0)
    tokens = prefix + GRID[0] * GRID[1]
    heads = {point: torch.randn(batch, 4, tokens, 8, generator=generator).to(dtype) for point in "qkv"}
    return AttentionInputs(heads, GRID, prefix)


def softmax_of(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.softmax(torch.einsum("bhid,bhjd->bhij", left, right) / math.sqrt(left.shape[-1]), dim=-1)


def test_identity_keeps_each_patch():
    inputs = make_inputs()
    values = inputs["v"]
    assert torch.equal(Identity().aggregate(inputs, values), values[:, :, 1:])
    assert Identity().needs == ()


@pytest.mark.parametrize("pairs", [("qk",), ("qq",), ("kk",), ("vv",), ("qq", "kk"), ("qq", "kk", "vv")])
@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_self_attention_is_a_sum_of_softmaxes(pairs: tuple[str, ...], prefix: int):
    inputs = make_inputs(prefix)
    affinity = SelfAttention(pairs)
    expected = sum(softmax_of(inputs[pair[0]], inputs[pair[1]])[:, :, prefix:] for pair in pairs)
    assert torch.allclose(affinity.weights(inputs), expected, atol=1e-6)
    assert torch.allclose(affinity.weights(inputs).sum(-1), torch.full((2, 4, 15), float(len(pairs))), atol=1e-5)
    assert torch.allclose(affinity.aggregate(inputs, inputs["v"]), expected @ inputs["v"], atol=1e-5)
    assert set(affinity.needs) == set("".join(pairs)) - {"v"}


def test_dropped_prefix_has_no_weight():
    inputs = make_inputs()
    affinity = SelfAttention(("kk",), drop_prefix=True)
    keys = inputs.patches("k")
    assert torch.equal(affinity.weights(inputs)[..., 0], torch.zeros(2, 4, 15))
    assert torch.allclose(affinity.weights(inputs)[..., 1:], softmax_of(keys, keys), atol=1e-6)
    expected = softmax_of(keys, keys) @ inputs.patches("v")
    assert torch.allclose(affinity.aggregate(inputs, inputs["v"]), expected, atol=1e-5)


def test_gaussian_prior_by_a_literal_loop():
    prior = gaussian_prior(GRID, sigma=2.0)
    for first in range(15):
        for second in range(15):
            dy, dx = first // 5 - second // 5, first % 5 - second % 5
            assert prior[first, second].item() == pytest.approx(math.exp(-(dy**2 + dx**2) / 8.0), abs=1e-6)
    assert torch.equal(prior, prior.T)
    assert torch.equal(prior.diagonal(), torch.ones(15))


@pytest.mark.parametrize("drop_prefix", [False, True])
def test_neighbour_attention_adds_the_prior_to_the_logits(drop_prefix: bool):
    inputs = make_inputs()
    affinity = NeighbourAttention(("kk",), sigma=2.0, drop_prefix=drop_prefix)
    logits = torch.einsum("bhid,bhjd->bhij", inputs.patches("k"), inputs["k"]) / math.sqrt(8)
    logits[..., 1:] += gaussian_prior(GRID, 2.0)
    if drop_prefix:
        logits[..., 0] = -math.inf
    expected = torch.softmax(logits, dim=-1)
    assert torch.allclose(affinity.weights(inputs), expected, atol=1e-6)
    assert torch.allclose(affinity.aggregate(inputs, inputs["v"]), expected @ inputs["v"], atol=1e-5)


def test_neighbourhood_alone_ignores_the_content_but_not_its_size():
    inputs = make_inputs()
    affinity = NeighbourAttention(sigma=1.0, content=False)
    assert set(affinity.needs) == {"q", "k"}
    for image in range(2):
        query, key = inputs["q"][image], inputs["k"][image]
        sizes = query.norm(dim=-1)[:, :, None] * key.norm(dim=-1)[:, None, :]
        logits = torch.zeros(15, 16)
        logits[:, 1:] = gaussian_prior(GRID, 1.0) * sizes.mean() / math.sqrt(8)
        expected = torch.softmax(logits, dim=-1).expand(4, -1, -1)
        assert torch.allclose(affinity.weights(inputs)[image], expected, atol=1e-6)
    expected = affinity.weights(inputs) @ inputs["v"]
    assert torch.allclose(affinity.aggregate(inputs, inputs["v"]), expected, atol=1e-5)


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_ensemble_attention_written_out(iterations: int):
    inputs = make_inputs()
    inputs = AttentionInputs({**inputs.heads, "ln_1": 3 * inputs["q"] + inputs["k"]}, GRID, 1)
    affinity = EnsembleAttention(iterations=iterations)
    assert set(affinity.needs) == {"q", "k", "ln_1"}
    expected = torch.zeros(2, 4, 15, 8)
    for image in range(2):
        tokens = inputs["ln_1"][image].permute(1, 0, 2).reshape(16, 32)
        inverse = tokens.norm(dim=1).mean() / math.sqrt(8)
        for point in "qkv":
            unit = inputs[point][image] / inputs[point][image].norm(dim=-1, keepdim=True)
            for _ in range(iterations):
                unit = torch.softmax(unit @ unit.transpose(1, 2) * inverse, dim=-1) @ unit
                unit = unit / unit.norm(dim=-1, keepdim=True)
            matrix = torch.softmax(unit @ unit.transpose(1, 2) * inverse, dim=-1)
            expected[image] += (matrix @ inputs["v"][image])[:, 1:] / 3
    assert torch.allclose(affinity.aggregate(inputs, inputs["v"]), expected, atol=1e-5)
    assert torch.allclose(affinity.weights(inputs) @ inputs["v"], expected, atol=1e-5)


def test_wrong_settings_say_what_is_right():
    with pytest.raises(ValueError, match="two by two"):
        SelfAttention(("qx",))
    with pytest.raises(ValueError, match="two by two"):
        SelfAttention(())
    with pytest.raises(ValueError, match="sigma"):
        NeighbourAttention(sigma=0)
    with pytest.raises(ValueError, match="two by two"):
        EnsembleAttention(points=("x",))
    with pytest.raises(ValueError, match="iterations"):
        EnsembleAttention(iterations=-1)
    with pytest.raises(ValueError, match="sdpa"):
        SelfAttention(backend="flash")
    with pytest.raises(KeyError, match="present: v"):
        AttentionInputs({"v": torch.zeros(1, 1, 2, 1)}, (1, 1), 1)["k"]


def test_xformers_falls_back_on_the_cpu():
    inputs = make_inputs()
    wanted = SelfAttention(("qq",), backend="xformers").aggregate(inputs, inputs["v"])
    assert torch.equal(wanted, SelfAttention(("qq",)).aggregate(inputs, inputs["v"]))


@pytest.mark.parametrize("biased", [False, True])
def test_xformers_call_has_its_own_axis_order(monkeypatch: pytest.MonkeyPatch, biased: bool):
    """A stand-in with the documented signature: ``(B, M, H, K)`` tensors, bias of aligned rows ``(B, H, M, N)``."""

    def memory_efficient_attention(query, key, value, attn_bias=None):
        if attn_bias is not None:
            assert attn_bias.shape == (2, 4, 15, 18)
            assert attn_bias.stride(-2) % 8 == 0
        logits = torch.einsum("bmhk,bnhk->bhmn", query, key) / math.sqrt(query.shape[-1])
        logits = logits if attn_bias is None else logits + attn_bias
        return torch.einsum("bhmn,bnhk->bmhk", logits.softmax(-1), value)

    module = types.ModuleType("xformers.ops")
    module.memory_efficient_attention = memory_efficient_attention
    monkeypatch.setitem(sys.modules, "xformers", types.ModuleType("xformers"))
    monkeypatch.setitem(sys.modules, "xformers.ops", module)
    inputs = make_inputs(prefix=3)
    bias = torch.randn(1, 1, 15, 18) if biased else None
    arguments = (inputs.patches("q"), inputs["k"], inputs["v"], bias)
    result = attention_backend._attend_xformers(*arguments)
    assert torch.allclose(result, attention_backend.attend(*arguments), atol=1e-5)


def test_half_precision_stays_close():
    full, half = make_inputs(), make_inputs(dtype=torch.bfloat16)
    for affinity in (SelfAttention(("qq", "kk")), NeighbourAttention(), Identity()):
        wide = affinity.aggregate(full, full["v"])
        narrow = affinity.aggregate(half, half["v"])
        assert narrow.dtype == torch.bfloat16
        assert torch.allclose(narrow.float(), wide, atol=0.05)
