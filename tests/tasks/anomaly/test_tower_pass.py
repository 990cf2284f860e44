"""The side stream against an explicit two-path model; the main stream against the stock tower."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from helpers.tiny_models import TOKEN_KINDS, native_px, tiny_clip
from ovperc.affinity.self_attention import SelfAttention
from ovperc.readout.dual_path import DualPathReadout
from ovperc.tasks.anomaly.tower_pass import TowerRequest, split_features, tower_pass


def _images(batch: int = 2, size=(48, 64)) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(3))


def _explicit_side_stream(tower, images: torch.Tensor, start: int) -> dict[int, torch.Tensor]:
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
def test_side_stream_equals_explicit_attention(blocks):
    tower, images = tiny_clip("vit").backbone, _images()
    wanted = _explicit_side_stream(tower, images, max(0, 3 - blocks))
    found = tower_pass(tower, images, TowerRequest(side_blocks=blocks, side_taps=tuple(wanted)))
    assert found.grid_hw == (6, 8)
    for layer, state in wanted.items():
        assert_close(found.side[layer], state[:, 1:], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_agrees_with_the_stream_readout_and_the_stock_tower(kind):
    tower = tiny_clip(kind).backbone
    images = _images(size=(native_px(kind), native_px(kind)))
    readout = DualPathReadout(SelfAttention(pairs=("vv",)), layers=2)
    taps = readout.taps(tower)
    wanted = readout.tokens(tower, tower.forward_dense(images, taps), None)
    request = TowerRequest(side_blocks=2, side_taps=(-1,), main_taps=(0, -1), pooled="stock")
    found = tower_pass(tower, images, request)
    assert_close(found.side[2], wanted, atol=1e-4, rtol=1e-4)
    stock = tower.forward_dense(images, ["0.out", "-1.out"])
    assert_close(found.main[0], stock.patches("0.out"), atol=1e-4, rtol=1e-4)
    assert_close(found.main[2], stock.patches("-1.out"), atol=1e-4, rtol=1e-4)
    assert_close(found.pooled, tower.encode_pooled(images), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_last_block_gives_the_class_row_alone_when_nothing_else_is_read():
    tower, images = tiny_clip("vit").backbone, _images()
    stock = tower_pass(tower, images, TowerRequest(side_blocks=1, side_taps=(-1,), pooled="stock"))
    assert_close(stock.pooled, tower.encode_pooled(images), atol=1e-5, rtol=1e-5)
    bare = tower_pass(tower, images, TowerRequest(side_blocks=1, side_taps=(-1,), pooled="bare"))
    assert_close(bare.pooled, tower.run_blocks(images)[:, 0] @ tower.tower.proj, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_images_do_not_depend_on_their_neighbours():
    tower, images = tiny_clip("vit").backbone, _images(3)
    request = TowerRequest(side_blocks=3, side_taps=(-1,), main_taps=(1,), pooled="stock", windows=(2,))
    batch = split_features(tower_pass(tower, images, request), [1, 2])
    alone = tower_pass(tower, images[1:2], request)
    assert_close(batch[1].side[2][:1], alone.side[2], atol=1e-5, rtol=1e-5)
    assert_close(batch[1].main[1][:1], alone.main[1], atol=1e-5, rtol=1e-5)
    assert_close(batch[1].pooled[:1], alone.pooled, atol=1e-5, rtol=1e-5)
    assert_close(batch[1].windows[2][:1], alone.windows[2], atol=1e-5, rtol=1e-5)


def test_requests_that_no_tower_can_answer():
    tower = tiny_clip("vit").backbone
    with pytest.raises(ValueError, match="begins at block 2"):
        tower_pass(tower, _images(), TowerRequest(side_blocks=1, side_taps=(0,)))
    with pytest.raises(ValueError, match="outside a tower of 3"):
        tower_pass(tower, _images(), TowerRequest(main_taps=(5,)))
    with pytest.raises(ValueError, match="transformer tower"):
        resnet = tiny_clip("resnet").backbone
        tower_pass(resnet, _images(size=(96, 96)), TowerRequest(side_blocks=1, side_taps=(-1,)))
    with pytest.raises(ValueError, match="side_blocks"):
        TowerRequest(side_taps=(-1,))
    with pytest.raises(ValueError, match="stock"):
        TowerRequest(pooled="stok")
