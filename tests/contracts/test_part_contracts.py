"""What every registered affinity and readout keeps to; a part is tested here by being registered."""

from __future__ import annotations

import functools
import inspect

import pytest
import torch

from helpers.tiny_models import tiny_clip
from ovperc.affinity import Affinity, AttentionInputs
from ovperc.backbones.loading import ClipModel
from ovperc.core.structures import GuideFeatures
from ovperc.readout import Readout
from ovperc.registry import AFFINITIES, READOUTS

GRID = (4, 7)
POINTS = ("q", "k", "v", "ln_1")


def variants(name: str) -> list[dict]:
    """The part with its defaults, and with every boolean option turned the other way."""
    parameters = inspect.signature(AFFINITIES.get(name).__init__).parameters
    flags = {key: not value.default for key, value in parameters.items() if isinstance(value.default, bool)}
    return [{"type": name}, *({"type": name, key: value} for key, value in flags.items())]


ALL_VARIANTS = [config for name in AFFINITIES.list() for config in variants(name)]
SELF_PAIRS = [("qk",), ("qq",), ("kk",), ("vv",), ("qq", "kk"), ("qq", "kk", "vv")]
KINDS = [config for config in ALL_VARIANTS if len(config) == 1] + [
    {"type": "SelfAttention", "pairs": pairs} for pairs in SELF_PAIRS
]


def identify(config: dict) -> str:
    return "-".join(str(value) for value in config.values())


def make_inputs(batch: int = 3, prefix: int = 1) -> AttentionInputs:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 2, prefix + GRID[0] * GRID[1], 8)
    heads = {point: torch.randn(shape, generator=generator) for point in POINTS}
    return AttentionInputs(heads, GRID, prefix, make_guide(batch, GRID))


def make_guide(batch: int, grid_hw: tuple[int, int]) -> GuideFeatures:
    generator = torch.Generator().manual_seed(3)
    unit = torch.randn(batch, grid_hw[0] * grid_hw[1], 6, generator=generator)
    unit = torch.nn.functional.normalize(unit + 0.3, dim=-1)
    return GuideFeatures(unit, grid_hw, unit.mean(1).square().sum(-1))


@functools.lru_cache(maxsize=4)
def tower(kind: str) -> ClipModel:
    return tiny_clip(kind)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("config", ALL_VARIANTS, ids=identify)
def test_aggregate_is_the_product_with_the_weights(config: dict, prefix: int):
    affinity: Affinity = AFFINITIES.build(config)
    inputs = make_inputs(prefix=prefix)
    weights = affinity.weights(inputs)
    patches = GRID[0] * GRID[1]
    assert weights.dtype == torch.float32
    assert weights.shape[0] == 3
    assert weights.shape[1] in (1, 2)
    assert weights.shape[2:] == (patches, prefix + patches)
    assert torch.isfinite(weights).all()
    assert float(weights.min()) >= 0
    result = affinity.aggregate(inputs, inputs["v"])
    assert result.shape == (3, 2, patches, 8)
    assert torch.allclose(result, weights @ inputs["v"], atol=1e-5)


@pytest.mark.parametrize("config", ALL_VARIANTS, ids=identify)
def test_affinities_know_one_image_at_a_time(config: dict):
    affinity: Affinity = AFFINITIES.build(config)
    inputs = make_inputs()
    together = affinity.aggregate(inputs, inputs["v"])
    for image in range(3):
        heads = {point: value[image : image + 1] for point, value in inputs.heads.items()}
        alone = AttentionInputs(heads, GRID, inputs.num_prefix, inputs.guide[image : image + 1])
        assert torch.allclose(affinity.aggregate(alone, alone["v"]), together[image : image + 1], atol=1e-5)


@pytest.mark.parametrize("config", ALL_VARIANTS, ids=identify)
def test_affinities_ask_for_all_they_read(config: dict):
    affinity: Affinity = AFFINITIES.build(config)
    inputs = make_inputs()
    heads = {point: inputs[point] for point in {"v", *affinity.needs}}
    asked = AttentionInputs(heads, GRID, 1, inputs.guide if affinity.needs_guide else None)
    assert torch.equal(affinity.aggregate(asked, asked["v"]), affinity.aggregate(inputs, inputs["v"]))


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("ffn", [True, False])
@pytest.mark.parametrize("config", KINDS, ids=identify)
def test_every_combination_with_the_block_runs(config: dict, residual: bool, ffn: bool):
    readout = READOUTS.build({"type": "BlockReadout", "affinity": config, "residual": residual, "ffn": ffn})
    check_readout(readout, "vit")
    check_readout(readout, "eva")


TAKES_AFFINITY = [
    name for name in READOUTS.list() if "affinity" in inspect.signature(READOUTS.get(name).__init__).parameters
]


@pytest.mark.parametrize("name", TAKES_AFFINITY)
@pytest.mark.parametrize("config", KINDS, ids=identify)
def test_every_readout_takes_every_affinity(name: str, config: dict):
    readout = READOUTS.build({"type": name, "affinity": config})
    for kind in ("vit", "timm-token", "resnet"):
        check_readout(readout, kind)


def check_readout(readout: Readout, kind: str) -> None:
    backbone = tower(kind).backbone
    stride = backbone.stride_px
    images = torch.randn(2, 3, 3 * stride, 5 * stride + 1, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = backbone.forward_dense(images, readout.taps(backbone, with_keys=True))
        guide = make_guide(2, (3, 5))
        result = readout(backbone, features, guide, with_keys=True)
        again = readout(backbone, features, guide, with_keys=True)
    assert result.patches.shape == (2, backbone.embed_dim, 3, 5)
    assert result.patches.dtype == torch.float32
    assert torch.allclose(result.patches.norm(dim=1), torch.ones(()), atol=1e-4)
    assert result.keys.shape[:2] == (2, 15)
    assert torch.equal(result.patches, again.patches)
