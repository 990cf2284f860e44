"""The dual path against an explicit two-path model; what is read beside it against the stock tower."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from helpers.tiny_models import TOKEN_KINDS, native_px, tiny_clip
from ovperc.core.structures import Tap


def _images(batch: int = 2, size=(48, 64)) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(3))


def _explicit_dual_path(tower, images: torch.Tensor, start: int) -> dict[int, torch.Tensor]:
    """AnomalyCLIP's second path with stored N x N matrices, class row included, straight from the parameters."""
    x = tower.embed(images)[0]
    z, states = None, {}
    for layer, block in enumerate(tower.tower.transformer.resblocks):
        if layer >= start:
            z = x if z is None else z
            attention = block.attn
            width, heads = attention.embed_dim, attention.num_heads
            value = torch.nn.functional.linear(
                block.ln_1(x), attention.in_proj_weight[-width:], attention.in_proj_bias[-width:]
            )
            value = value.view(len(x), -1, heads, width // heads).transpose(1, 2)
            weights = (value @ value.transpose(-1, -2) / math.sqrt(width // heads)).softmax(dim=-1)
            z = z + attention.out_proj((weights @ value).transpose(1, 2).flatten(2))
            states[layer] = z
        x = block(x)
    return states


@torch.inference_mode()
@pytest.mark.parametrize("blocks", [1, 2, 3, 19])
def test_dual_path_equals_explicit_attention(blocks):
    tower, images = tiny_clip("vit").backbone, _images()
    wanted = _explicit_dual_path(tower, images, max(0, 3 - blocks))
    found = tower.forward_dense(images, [f"{layer}.dual:{blocks}" for layer in wanted])
    assert found.grid_hw == (6, 8)
    for layer, state in wanted.items():
        assert_close(found[f"{layer}.dual:{blocks}"], state[:, 1:], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_other_taps_stay_those_of_the_stock_tower(kind):
    tower = tiny_clip(kind).backbone
    images = _images(size=(native_px(kind), native_px(kind)))
    beside = ["0.out", "1.q", "-1.k", "-1.out", "-1.final", "-1.pooled"]
    found = tower.forward_dense(images, ["-1.dual:2", "-1.dual:1", *beside])
    stock = tower.forward_dense(images, beside)
    for tap in beside:
        assert_close(found[tap], stock[tap], atol=1e-4, rtol=1e-4)
    assert_close(found["-1.pooled"], tower.tower(images), atol=1e-4, rtol=1e-4)
    values = tower.forward_dense(images, ["-2.in", "-2.v", "-1.v"])
    branches = [_branch(tower, values, layer) for layer in (-2, -1)]
    assert_close(found["-1.dual:2"], values.patches("-2.in") + sum(branches), atol=1e-4, rtol=1e-4)
    assert_close(found["-1.dual:1"], stock_in(tower, images) + branches[1], atol=1e-4, rtol=1e-4)


def stock_in(tower, images: torch.Tensor) -> torch.Tensor:
    return tower.forward_dense(images, ["-1.in"]).patches("-1.in")


def _branch(tower, features, layer: int) -> torch.Tensor:
    block = tower.block(layer)
    value = features[Tap(layer, "v")].unflatten(-1, (block.num_heads, -1)).transpose(1, 2)
    weights = (value @ value.transpose(-1, -2) / math.sqrt(value.shape[-1])).softmax(dim=-1)
    return block.project_out((weights @ value).transpose(1, 2).flatten(2))[:, features.num_prefix :]


@torch.inference_mode()
def test_pooled_alone_reads_the_class_row_of_the_last_block():
    tower, images = tiny_clip("vit").backbone, _images()
    found = tower.forward_dense(images, ["-1.dual:1", "-1.pooled", "-1.pooled_bare"])
    last = tower.forward_dense(images, ["-1.out"])["-1.out"]
    assert_close(found["-1.pooled"], tower.pool(last, found.grid_hw), atol=1e-5, rtol=1e-5)
    assert_close(found["-1.pooled_bare"], last[:, 0] @ tower.tower.proj, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("taps", [["-1.v"], ["-1.dual:2"], ["-1.q", "-1.k"]])
def test_the_last_block_runs_only_where_something_reads_it(taps):
    tower, images = tiny_clip("vit").backbone, _images()
    rows = []
    handle = tower.tower.transformer.resblocks[-1].mlp.register_forward_hook(
        lambda module, inputs, output: rows.append(output.shape[1])
    )
    try:
        tower.forward_dense(images, taps)
        assert rows == []
        tower.forward_dense(images, [*taps, "-1.pooled"])
        assert rows == [1]
        tower.forward_dense(images, [*taps, "-1.pooled", "-1.out"])
        assert rows == [1, 49]
    finally:
        handle.remove()


@torch.inference_mode()
def test_images_do_not_depend_on_their_neighbours():
    tower, images = tiny_clip("vit").backbone, _images(3)
    taps = ["-1.dual:3", "1.out", "-1.pooled"]
    batch, alone = tower.forward_dense(images, taps), tower.forward_dense(images[1:2], taps)
    for tap in taps:
        assert_close(batch[tap][1:2], alone[tap], atol=1e-5, rtol=1e-5)


def test_taps_that_no_tower_can_answer():
    tower = tiny_clip("vit").backbone
    with pytest.raises(ValueError, match="begins at block 2"):
        tower.forward_dense(_images(), ["0.dual:1"])
    with pytest.raises(ValueError, match="outside a tower of 3"):
        tower.forward_dense(_images(), ["5.out"])
    with pytest.raises(ValueError, match="last block only"):
        tower.forward_dense(_images(), ["0.pooled"])
    with pytest.raises(ValueError, match="transformer tower"):
        tiny_clip("resnet").backbone.forward_dense(_images(size=(96, 96)), ["-1.dual:1"])
    for text in ("-1.dual", "-1.v:2", "-1.dual:x"):
        with pytest.raises(ValueError, match="LAYER"):
            Tap.parse(text)
    assert str(Tap.parse("-1.dual:6")) == "-1.dual:6"
