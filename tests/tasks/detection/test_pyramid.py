"""Feature pyramids of frozen towers, and pooling from them at any stride."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from helpers.tiny_models import tiny_clip
from ovperc.affinity.base import Identity
from ovperc.readout.block import BlockReadout
from ovperc.tasks.detection.pooler import FPNRoIPooler
from ovperc.tasks.detection.pyramid import FrozenClipBackbone, ResNetBackbone, SimpleFPN


@pytest.mark.parametrize("kind", ["vit", "timm-stem", "eva", "siglip"])
def test_taps_and_dense_map_of_one_pass(kind: str) -> None:
    backbone = tiny_clip(kind).backbone
    images = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    maps = FrozenClipBackbone(backbone, (0, 1, -1))(images)
    assert [tuple(level.shape) for level in maps.levels] == [(2, backbone.width, 5, 7)] * 3
    features = backbone.forward_dense(images, ["0.out", "-1.in", "-1.v"])
    assert torch.allclose(maps.levels[0].flatten(2).transpose(1, 2), features.patches("0.out"), atol=1e-6)
    readout = BlockReadout(Identity())
    dense = readout(backbone, backbone.forward_dense(images, readout.taps(backbone))).patches
    assert torch.allclose(maps.dense, dense, atol=1e-5)
    assert not any(level.requires_grad for level in (*maps.levels, maps.dense))
    with pytest.raises(ValueError, match="rise"):
        FrozenClipBackbone(backbone, (1, 0))


@pytest.mark.parametrize("grid_hw", [(5, 7), (8, 8), (1, 3)])
def test_levels_of_odd_grids(grid_hw: tuple[int, int]) -> None:
    neck = SimpleFPN((8,) * 4, (4, 2, 1, 0.5), 16)
    levels = neck([torch.randn(1, 8, *grid_hw) for _ in range(4)])
    h, w = grid_hw
    sizes = [(4 * h, 4 * w), (2 * h, 2 * w), (h, w), (-(-h // 2), -(-w // 2))]
    assert [tuple(level.shape[-2:]) for level in levels] == sizes
    assert all(level.shape[1] == 16 for level in levels)


def test_resnet_levels() -> None:
    resnet = ResNetBackbone("resnet18")
    levels = resnet(torch.randn(1, 3, 64, 96)).levels
    assert [level.shape[1] for level in levels] == list(resnet.channels)
    assert [level.shape[-1] for level in levels] == [96 / stride for stride in resnet.strides]


def test_pooling_takes_each_box_from_its_level_and_keeps_the_order() -> None:
    strides = (3.5, 7.0, 14.0)
    generator = torch.Generator().manual_seed(0)
    sides = (40, 20, 10)
    pyramid = [torch.randn(2, 4, side, side, generator=generator) for side in sides]
    boxes = [
        torch.tensor([[0.0, 0.0, 130.0, 130.0], [10.0, 10.0, 30.0, 40.0], [5.0, 9.0, 130.0, 29.0]]),
        torch.tensor([[20.0, 20.0, 90.0, 100.0]]),
    ]
    pooler = FPNRoIPooler(strides, 7, finest_px=30.0)
    assert pooler.levels(boxes[0]).tolist() == [2, 0, 0] and pooler.levels(boxes[1]).tolist() == [1]
    found = pooler(pyramid, boxes)
    for row, (image, level, box) in enumerate([(0, 2, 0), (0, 0, 1), (0, 0, 2), (1, 1, 0)]):
        maps = pyramid[level][image : image + 1]
        one = boxes[image][box : box + 1]
        wanted = roi_align(maps, [one], (7, 7), 1 / strides[level], 2, aligned=True)
        assert torch.allclose(found[row], wanted[0], atol=1e-6)
    assert pooler(pyramid, [torch.zeros(0, 4), torch.zeros(0, 4)]).shape == (0, 4, 7, 7)
