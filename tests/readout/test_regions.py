"""Region readout against torchvision's operator, dense maps and crops."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from helpers.tiny_models import tiny_clip
from ovperc.readout.regions import (
    box_weights,
    crop_regions,
    encode_crops,
    mask_weights,
    pool_regions,
    separable_roi_align,
    stitched_box_weights,
    stitched_mask_weights,
)
from ovperc.tiling import Stitcher, Tiler

BOXES = torch.tensor(
    [
        [0.0, 0.0, 96.0, 64.0],
        [10.3, 5.1, 31.7, 44.4],
        [-30.0, -20.0, 20.0, 30.0],
        [80.0, 50.0, 130.0, 90.0],
        [200.0, 200.0, 260.0, 240.0],
        [12.0, 12.0, 12.0, 30.0],
        [40.1, 40.2, 40.6, 40.9],
    ]
)


@pytest.mark.parametrize("stride", [8.0, 3.5, 14.0])
@pytest.mark.parametrize(("size", "sampling"), [(1, 0), (1, 2), (7, 2), (7, 0), (14, 1)])
def test_separable_roi_align_equals_torchvision(stride: float, size: int, sampling: int) -> None:
    maps = torch.randn(1, 5, 9, 13, generator=torch.Generator().manual_seed(0))
    wanted = roi_align(maps, [BOXES], (size, size), 1 / stride, sampling if sampling else -1, aligned=True)
    found = separable_roi_align(maps[0], BOXES, size, stride, sampling)
    assert (found - wanted).abs().max() < 1e-5


def test_separable_roi_align_learns_like_torchvision() -> None:
    maps = torch.randn(1, 3, 9, 13, dtype=torch.float64, requires_grad=True)
    wanted = torch.autograd.grad(
        roi_align(maps, [BOXES.double()], (3, 3), 0.125, 2, aligned=True).square().sum(), maps
    )[0]
    found = torch.autograd.grad(separable_roi_align(maps[0], BOXES.double(), 3, 8.0, 2).square().sum(), maps)[0]
    assert (found - wanted).abs().max() < 1e-5


def test_weights_sum_to_one_and_regions_without_area_are_zero() -> None:
    weights = box_weights(BOXES, (8, 12), 8.0)
    sums = weights.sum(dim=1)
    assert torch.allclose(sums[[0, 1, 6]], torch.ones(3), atol=1e-5)
    assert sums[4] == 0 and sums[5] == 0
    patches = torch.randn(6, 8, 12)
    embeddings = pool_regions(patches, weights)
    assert torch.allclose(embeddings[:2].norm(dim=1), torch.ones(2), atol=1e-5)
    assert embeddings[4].abs().sum() == 0
    assert box_weights(torch.zeros(0, 4), (8, 12), 8.0).shape == (0, 96)


def test_mask_of_whole_patches_is_their_mean() -> None:
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, 8:24, 16:32] = True
    weights = mask_weights(masks, (8, 12)).unflatten(1, (8, 12))
    assert torch.allclose(weights[0, 1:3, 2:4], torch.full((2, 2), 0.25))
    assert weights[0].sum() == pytest.approx(1.0) and weights[1].sum() == 0
    with pytest.raises(ValueError, match="masks"):
        mask_weights(masks[0], (8, 12))


@pytest.mark.parametrize("settings", [{}, {"crop_px": 32, "stride_px": 16}, {"pad": "symmetric", "crop_px": 40}])
def test_stitched_regions_are_means_of_the_stitched_map(settings: dict) -> None:
    """The mean over a region of the map at image size, made explicitly."""
    geometry = Tiler(short_side_px=64, **settings).plan((50, 77), 8)
    grid_hw = tuple(-(-side // 8) for side in geometry.tile_hw)
    stitcher = Stitcher(geometry, grid_hw)
    patches = torch.randn(geometry.num_tiles, 4, *grid_hw, generator=torch.Generator().manual_seed(0))
    dense = stitcher.merge(patches)
    boxes = torch.tensor([[3.0, 4.0, 30.0, 41.0], [0.0, 0.0, 77.0, 50.0], [70.0, 40.0, 90.0, 60.0]])
    wanted = [dense[:, 4:41, 3:30], dense, dense[:, 40:, 70:]]
    means = torch.stack([part.flatten(1).mean(dim=1) for part in wanted])
    found = stitched_box_weights(boxes, stitcher).pool(patches)
    assert torch.allclose(found, torch.nn.functional.normalize(means, dim=1), atol=1e-4)
    masks = torch.rand(3, 50, 77, generator=torch.Generator().manual_seed(1)) > 0.7
    means = torch.stack([dense[:, mask].mean(dim=1) for mask in masks])
    found = stitched_mask_weights(masks, stitcher).pool(patches)
    assert torch.allclose(found, torch.nn.functional.normalize(means, dim=1), atol=1e-4)


@pytest.mark.parametrize("kind", ["vit", "timm-stem", "convnext"])
def test_a_crop_of_the_whole_image_is_the_image(kind: str) -> None:
    clip = tiny_clip(kind)
    side = clip.preprocess.image_size_px
    pixels = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    whole = torch.tensor([[0.0, 0.0, side, side]])
    assert torch.allclose(crop_regions(pixels, whole, side)[0], pixels, atol=1e-5)
    found = encode_crops(clip, pixels, whole.expand(3, 4), side, batch=2)
    wanted = torch.nn.functional.normalize(clip.backbone.encode_pooled(pixels[None]).float(), dim=1)
    assert torch.allclose(found, wanted.expand(3, -1), atol=1e-4)
    assert encode_crops(clip, pixels, whole[:0], side).shape == (0, clip.backbone.embed_dim)
