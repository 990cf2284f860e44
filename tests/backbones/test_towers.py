"""Every tower against the stock model it wraps."""

import pytest
import torch
from torch.nn import functional as F

from helpers.tiny_models import CONV_KINDS, EMBED_DIM, KINDS, TOKEN_KINDS, native_px, tiny_open_clip
from ovperc.backbones.base import AttentionBlock
from ovperc.backbones.loading import build_backbone

ALL_TOKEN_KINDS = (*TOKEN_KINDS, "vit-coca")


def _images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def models():
    return {kind: tiny_open_clip(kind, seed=1) for kind in KINDS}


@pytest.fixture(scope="module")
def towers(models):
    return {kind: build_backbone(model.visual, "size") for kind, model in models.items()}


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_equals_stock(kind, models, towers):
    side = native_px(kind)
    images = _images(3, 3, side, side)
    expected = models[kind].visual(images)
    expected = expected[:, 0] if expected.ndim == 3 else expected
    pooled = towers[kind].encode_pooled(images)
    assert pooled.shape == (3, EMBED_DIM) == (3, towers[kind].embed_dim)
    scale = expected.abs().max()
    assert (pooled - expected).abs().max() <= 1e-5 * max(1.0, float(scale))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra", [(0, 0), (37, 5), (5, 100)])
def test_any_size_gives_whole_grid(kind, extra, towers):
    tower = towers[kind]
    height, width = tower.stride_px + extra[0], tower.stride_px + extra[1]
    images = _images(2, 3, height, width)
    features = tower.forward_dense(images, ["-1.v"])
    grid_hw = (height // tower.stride_px, width // tower.stride_px)
    assert features.grid_hw == grid_hw
    assert features["-1.v"].shape == (2, tower.num_prefix + grid_hw[0] * grid_hw[1], tower.width)
    assert tower.encode_pooled(images).shape == (2, EMBED_DIM)
    cut = images[..., : grid_hw[0] * tower.stride_px, : grid_hw[1] * tower.stride_px]
    assert torch.equal(tower.forward_dense(cut, ["-1.v"])["-1.v"], features["-1.v"])


@pytest.mark.parametrize("kind", KINDS)
def test_batch_invariance_and_no_state(kind, towers):
    tower = towers[kind]
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    images = _images(3, 3, 3 * tower.stride_px, 2 * tower.stride_px + 3)
    first = tower.forward_dense(images, ["-1.v"])["-1.v"]
    tower.forward_dense(_images(1, 3, 2 * tower.stride_px, 5 * tower.stride_px), ["-1.v"])
    tower.encode_pooled(images)
    assert torch.equal(tower.forward_dense(images, ["-1.v"])["-1.v"], first)
    for row in range(3):
        alone = tower.forward_dense(images[row : row + 1], ["-1.v"])["-1.v"]
        torch.testing.assert_close(alone[0], first[row], rtol=1e-4, atol=1e-5 * float(first.abs().max() + 10))
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


@pytest.mark.parametrize("kind", ALL_TOKEN_KINDS)
def test_taps_rebuild_the_block(kind, towers):
    """The block assembled from taps and views equals the stock block, at a grid that is not the native one."""
    tower = towers[kind]
    images = _images(2, 3, 40, 61)
    features = tower.forward_dense(images, ["1.in", "1.ln_1", "1.q", "1.k", "1.v", "1.ln_2", "1.out", "-1.out"])
    block = tower.block(1)
    assert isinstance(block, AttentionBlock) and block.has_residual
    heads = [features[f"1.{point}"].unflatten(-1, (block.num_heads, -1)).transpose(1, 2) for point in ("q", "k", "v")]
    weights = ((heads[0] @ heads[1].transpose(-2, -1)) * heads[0].shape[-1] ** -0.5).softmax(dim=-1)
    mixed = (weights @ heads[2]).transpose(1, 2).flatten(2)
    middle = features["1.in"] + block.project_out(mixed)
    rebuilt = middle + block.feed_forward(middle)
    torch.testing.assert_close(rebuilt, features["1.out"], rtol=1e-4, atol=1e-4)
    assert features["1.ln_2"].shape == features["1.in"].shape
    assert torch.equal(tower.forward_dense(images, ["2.in"])["2.in"], features["1.out"])
    without = tower.forward_dense(images, ["-1.out"])["-1.out"]
    torch.testing.assert_close(without, features["-1.out"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["vit", "timm-token", "timm-stem", "eva"])
def test_prefix_token_projects_to_pooled(kind, towers):
    """``project`` is the pooled head, token by token."""
    tower = towers[kind]
    images = _images(2, 3, 48, 48)
    tokens = tower.forward_dense(images, ["-1.out"])["-1.out"]
    if kind == "timm-stem":  # average pool of normed tokens, then a linear head: project commutes with the mean
        projected = tower.project(tokens[:, tower.num_prefix :]).mean(dim=1)
    else:
        projected = tower.project(tokens)[:, 0]
    torch.testing.assert_close(projected, tower.encode_pooled(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["siglip", "vit-coca"])
def test_attention_pool_of_one_token(kind, models, towers):
    """A sequence of one token, pooled by the stock attention pool, is what ``project`` gives that token."""
    visual, tower = models[kind].visual, towers[kind]
    token = _images(1, 1, tower.width)
    if kind == "siglip":
        expected = visual.head(visual.trunk.forward_head(visual.trunk.norm(token)))
    else:
        expected = visual._pool(token)[0] @ visual.proj
    torch.testing.assert_close(tower.project(token)[:, 0], expected)


@pytest.mark.parametrize("kind", CONV_KINDS)
def test_conv_tower(kind, models, towers):
    visual, tower = models[kind].visual, towers[kind]
    images = _images(2, 3, 64, 100)
    features = tower.forward_dense(images, ["-1.v", "-1.out"])
    expected = visual.trunk.forward_features(images[..., :96])
    assert torch.equal(features["-1.v"], expected.flatten(2).transpose(1, 2))
    position = expected[:, :, 1:2, 2:3]
    torch.testing.assert_close(tower.project(features["-1.v"])[:, 5], visual.head(visual.trunk.forward_head(position)))
    assert not tower.block(-1).has_residual
    assert torch.equal(tower.block(-1).project_out(features["-1.v"]), features["-1.v"])
    with pytest.raises(ValueError, match=r"no k, q.*maskclip"):
        tower.forward_dense(images, ["-1.q", "-1.k"])
    with pytest.raises(ValueError, match="no feed-forward"):
        tower.block(-1).feed_forward(features["-1.v"])


def test_resnet_dense(models, towers):
    visual, tower = models["resnet"].visual, towers["resnet"]
    images = _images(2, 3, 64, 96)
    features = tower.forward_dense(images, ["-1.in", "-1.q", "-1.k", "-1.v", "-1.out"])
    stem = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))
    tokens = stem.flatten(2).transpose(1, 2)
    pool = visual.attnpool
    torch.testing.assert_close(features["-1.v"], F.linear(tokens, pool.v_proj.weight, pool.v_proj.bias))
    folded = F.linear(
        tokens,
        pool.c_proj.weight @ pool.v_proj.weight,
        pool.c_proj.weight @ pool.v_proj.bias + pool.c_proj.bias,
    )
    out = tower.project(tower.block(-1).project_out(features["-1.v"]))
    torch.testing.assert_close(out, folded, rtol=1e-4, atol=1e-4)
    assert features["-1.out"].shape == (2, 6, EMBED_DIM)
    assert tower.num_prefix == 0 and not tower.block(0).has_residual
    with pytest.raises(ValueError, match=r"block\(-1\).project_out"):
        tower.project(tokens)


def test_runs_no_block_that_no_tap_needs(models, towers, monkeypatch):
    tower = towers["vit"]

    def refuse(*_args, **_kwargs):
        raise AssertionError("this block must not run")

    for block in models["vit"].visual.transformer.resblocks[1:]:
        monkeypatch.setattr(block, "forward", refuse)
    features = tower.forward_dense(_images(1, 3, 16, 16), ["1.in", "1.q", "0.v"])
    assert set(map(str, features.taps)) == {"1.in", "1.q", "0.v"}


def test_pos_embed_modes_differ(models):
    images = _images(1, 3, 64, 80)
    answers = [
        build_backbone(models["vit"].visual, mode).forward_dense(images, ["0.in"])["0.in"]
        for mode in ("scale", "size", "bilinear_square", "size_aa")
    ]
    for index, answer in enumerate(answers):
        assert all(not torch.allclose(answer, other) for other in answers[index + 1 :])


@pytest.mark.parametrize("kind", ["vit", "resnet", "eva", "convnext"])
def test_bfloat16_agrees(kind):
    exact = build_backbone(tiny_open_clip(kind, seed=2).visual, "size")
    coarse = build_backbone(tiny_open_clip(kind, seed=2).visual.to(torch.bfloat16), "size")
    images = _images(2, 3, native_px(kind), native_px(kind))
    assert coarse.encode_pooled(images).dtype == torch.bfloat16
    cosine = F.cosine_similarity(exact.encode_pooled(images), coarse.encode_pooled(images).float())
    assert cosine.min() > 0.99


def test_bad_images(towers):
    with pytest.raises(ValueError, match="at least one patch of 8 px; got 7 x 30"):
        towers["vit"].forward_dense(torch.zeros(1, 3, 7, 30), ["-1.v"])
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        towers["vit"].forward_dense(torch.zeros(3, 30, 30), ["-1.v"])
    with pytest.raises(ValueError, match="uint8"):
        towers["vit"].encode_pooled(torch.zeros(1, 3, 30, 30, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least one tap"):
        towers["vit"].forward_dense(torch.zeros(1, 3, 30, 30), [])
    with pytest.raises(ValueError, match="outside a tower of 3 blocks"):
        towers["vit"].block(3)
