"""The separable operators against pad-and-add, one window at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ovperc.tiling import Stitcher, Tiler

TILERS = {
    "whole": Tiler(short_side_px=60),
    "whole symmetric": Tiler(short_side_px=61, pad="symmetric"),
    "whole end": Tiler(short_side_px=61, pad="end"),
    "windows": Tiler(short_side_px=60, crop_px=32, stride_px=16),
    "windows floored": Tiler(short_side_px=59, crop_px=37, stride_px=20),
    "windows symmetric": Tiler(short_side_px=59, crop_px=37, stride_px=20, pad="symmetric", pad_multiple_px=16),
    "windows end": Tiler(short_side_px=59, crop_px=37, stride_px=37, pad="end"),
    "crop larger than image": Tiler(short_side_px=40, crop_px=64, stride_px=32),
    "own size": Tiler(crop_px=48, stride_px=24),
}
SIZES = [(60, 80), (91, 67), (37, 150), (5, 9)]
PATCH = 8


def pad_and_add(maps, geometry):
    """Upsample each window, crop its padding, add it up, divide by the cover count, resize; in float64."""
    top, _, left, _ = geometry.pad_tblr
    height, width = geometry.crop_hw
    canvas = torch.zeros(maps.shape[1], *geometry.resized_hw, dtype=torch.float64)
    count = torch.zeros(geometry.resized_hw)
    windows = ((y, x) for y in geometry.starts_y for x in geometry.starts_x)
    for grid, (y, x) in zip(maps.double(), windows, strict=True):
        size = geometry.tile_hw if geometry.crop_padding else geometry.crop_hw
        window = F.interpolate(grid[None], size=size, mode="bilinear", align_corners=False)[0]
        if geometry.crop_padding:
            window = window[:, top : top + height, left : left + width]
        canvas[:, y : y + height, x : x + width] += window
        count[y : y + height, x : x + width] += 1
    assert count.min() >= 1
    return F.interpolate((canvas / count)[None], size=geometry.original_hw, mode="bilinear", align_corners=False)[0]


def planned(name, size_hw):
    geometry = TILERS[name].plan(size_hw, PATCH)
    grid_hw = (geometry.tile_hw[0] // PATCH, geometry.tile_hw[1] // PATCH)
    return geometry, Stitcher(geometry, grid_hw)


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("name", TILERS)
def test_merge_equals_pad_and_add(name, size_hw):
    geometry, stitcher = planned(name, size_hw)
    maps = torch.randn(geometry.num_tiles, 3, *stitcher.grid_hw, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stitcher.merge(maps).double(), pad_and_add(maps, geometry), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", TILERS)
def test_operators_are_convex_and_multiply_the_block_matrix(name):
    geometry, stitcher = planned(name, (91, 67))
    for operator in (stitcher.rows, stitcher.cols):
        assert operator.dtype == torch.float32
        assert operator.min() >= 0
        torch.testing.assert_close(operator.sum(dim=1), torch.ones(len(operator)))
    maps = torch.randn(geometry.num_tiles, 2, *stitcher.grid_hw)
    block = stitcher.block(maps)
    expected = torch.einsum("Yy,ykx,Xx->kYX", stitcher.rows, block, stitcher.cols)
    torch.testing.assert_close(stitcher.merge(maps), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pixels", [17, 64, 700, 10**6])
@pytest.mark.parametrize("name", ["whole", "windows symmetric"])
def test_tiles_fill_the_merged_map_once(name, pixels):
    geometry, stitcher = planned(name, (91, 137))
    maps = torch.randn(geometry.num_tiles, 4, *stitcher.grid_hw)
    expected, grid = stitcher.merge(maps), stitcher.block(maps)
    result, filled = torch.zeros_like(expected), torch.zeros(expected.shape[-2:])
    buffer = torch.empty(4 * pixels)
    for tile in stitcher.tiles(pixels):
        assert tile.pixels <= pixels
        result[:, tile.rows, tile.cols] = tile.interpolate(grid, buffer).transpose(0, 1)
        filled[tile.rows, tile.cols] += 1
    assert (filled == 1).all()
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_identity_where_grid_and_image_agree():
    geometry = Tiler().plan((24, 32), 1)
    maps = torch.randn(1, 2, 24, 32)
    assert torch.equal(Stitcher(geometry, (24, 32)).merge(maps), maps[0])


def test_maps_of_another_plan_are_refused():
    geometry, stitcher = planned("windows", (60, 80))
    with pytest.raises(ValueError, match="as the geometry says"):
        stitcher.merge(torch.zeros(geometry.num_tiles + 1, 2, *stitcher.grid_hw))


def test_operators_made_in_inference_mode_serve_training_later():
    geometry = Tiler(short_side_px=43, crop_px=24, stride_px=13).plan((51, 77), PATCH)
    with torch.inference_mode():
        stitcher = Stitcher(geometry, (3, 3))
        stitcher.merge(torch.randn(geometry.num_tiles, 1, 3, 3))
        stitcher.tiles(100)
    maps = torch.randn(geometry.num_tiles, 1, 3, 3, requires_grad=True)
    stitcher.merge(maps).sum().backward()
    torch.testing.assert_close(maps.grad.sum(), torch.tensor(51.0 * 77.0))


@pytest.mark.parametrize("original_hw", [(375, 500), (600, 600), (1024, 2048)])
def test_two_steps_differ_little_from_one(original_hw):
    """Grid, resized image, original size; CLIP Surgery's reference leaves out the middle. Random maps of 21 classes."""
    geometry = Tiler(short_side_px=448).plan(original_hw, 16)
    grid_hw = tuple(side // 16 for side in geometry.resized_hw)
    maps = torch.randn(1, 21, *grid_hw, generator=torch.Generator().manual_seed(0))
    merged = Stitcher(geometry, grid_hw).merge(maps)
    direct = F.interpolate(maps, original_hw, mode="bilinear", align_corners=False)[0]
    assert (merged.argmax(dim=0) != direct.argmax(dim=0)).float().mean() < 0.002
