"""Each method's dense output against the plain implementation, on an open_clip tower with random weights."""

from __future__ import annotations

import pytest
import torch

from helpers.plain_methods import last_block_method, surgery
from helpers.tiny_models import tiny_clip, tiny_open_clip
from ovperc.readout import Readout
from ovperc.registry import READOUTS
from ovperc.tasks.methods import load_method

SIZES = [(48, 48), (72, 40)]
LAST_BLOCK = {
    "maskclip": ("identity", True, True),
    "sclip": ("qq+kk", True, True),
    "clearclip": ("qq", False, False),
    "naclip": ("kk+gaussian", False, False),
}


def dense(readout: Readout, images: torch.Tensor) -> torch.Tensor:
    backbone = tiny_clip("vit", seed=3).backbone
    with torch.inference_mode():
        return readout(backbone, backbone.forward_dense(images, readout.taps(backbone))).patches


def draw(size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", sorted(LAST_BLOCK))
def test_methods_of_the_last_block(name: str, size: tuple[int, int]):
    kind, residual, ffn = LAST_BLOCK[name]
    images = draw(size)
    visual = tiny_open_clip("vit", seed=3).visual
    expected = last_block_method(visual, images, kind, residual=residual, ffn=ffn)
    result = dense(READOUTS.build(dict(load_method(name).readout)), images)
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_surgery_sums_a_side_stream(layers: int, size: tuple[int, int]):
    images = draw(size)
    expected, pooled = surgery(tiny_open_clip("vit", seed=3).visual, images, layers)
    config = {**load_method("clip_surgery").readout, "layers": layers}
    result = dense(READOUTS.build(config), images)
    assert (result - expected).abs().max() <= 1e-4 * expected.abs().max()
    with torch.inference_mode():
        own = torch.nn.functional.normalize(tiny_clip("vit", seed=3).backbone.encode_pooled(images), dim=-1)
    assert (own - pooled).abs().max() <= 1e-4 * pooled.abs().max()


@pytest.mark.parametrize("kind", ["identity", "qk", "qq", "kk", "vv", "qq+kk", "kk+gaussian"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("ffn", [True, False])
def test_every_cross_combination(kind: str, residual: bool, ffn: bool):
    affinities = {
        "identity": {"type": "Identity"},
        "kk+gaussian": {"type": "NeighbourAttention"},
        "qq+kk": {"type": "SelfAttention", "pairs": ("qq", "kk")},
    }
    affinity = affinities.get(kind, {"type": "SelfAttention", "pairs": (kind,)})
    images = draw((48, 64))
    visual = tiny_open_clip("vit", seed=3).visual
    expected = last_block_method(visual, images, kind, residual=residual, ffn=ffn)
    readout = READOUTS.build({"type": "BlockReadout", "affinity": affinity, "residual": residual, "ffn": ffn})
    assert (dense(readout, images) - expected).abs().max() <= 1e-4 * expected.abs().max()
