"""The upsampler against scipy and torch, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from ovperc.tasks.anomaly.map_upsampler import MapUpsampler


def _grid(height: int, width: int, layers: int = 1) -> np.ndarray:
    return np.random.default_rng(0).random((layers, height, width), dtype=np.float32)


@pytest.mark.parametrize(("grid_hw", "stride", "sigma"), [((37, 37), 14, 4.0), ((5, 9), 16, 2.5), ((2, 3), 4, 6.0)])
def test_equals_bilinear_then_scipy(grid_hw, stride, sigma):
    grid = _grid(*grid_hw)[0]
    size = (grid_hw[0] * stride, grid_hw[1] * stride)
    up = F.interpolate(torch.from_numpy(grid).double()[None, None], size, mode="bilinear", align_corners=False)
    wanted = gaussian_filter(up[0, 0].numpy(), sigma)
    found = MapUpsampler(stride, sigma).upsample(grid, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_box_filter_and_aligned_corners():
    grid = torch.from_numpy(_grid(6, 7)[0])
    padded = F.pad(grid[None, None], (1, 1, 1, 1), mode="replicate")
    smooth = F.avg_pool2d(padded, 3, stride=1)
    wanted = F.interpolate(smooth, (48, 56), mode="bilinear", align_corners=True)[0, 0]
    found = MapUpsampler(8, 0.0, align_corners=True, box=3).upsample(grid.numpy(), (48, 56))
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


def test_other_output_size_is_a_bilinear_resize_of_the_blurred_map():
    grid = _grid(5, 4)[0]
    upsampler = MapUpsampler(8, 1.5)
    whole = torch.from_numpy(upsampler.upsample(grid, (40, 32)))
    wanted = F.interpolate(whole[None, None], (33, 71), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(upsampler.upsample(grid, (33, 71)), wanted.numpy(), atol=1e-6)


def test_several_layers_are_squashed_after_rendering():
    grid = 4 * _grid(4, 4, layers=3) - 2
    plain = MapUpsampler(4, 0.0)
    wanted = np.mean([1 / (1 + np.exp(-plain.upsample(layer, (16, 16)))) for layer in grid], axis=0)
    np.testing.assert_allclose(MapUpsampler(4, 0.0, combine="sigmoid_mean").upsample(grid, (16, 16)), wanted, atol=1e-6)
    np.testing.assert_allclose(plain.upsample(grid, (16, 16)), plain.upsample(grid.mean(axis=0), (16, 16)), atol=1e-6)


def test_constant_stays_constant_and_single_pixels_work():
    np.testing.assert_allclose(MapUpsampler(14, 4.0).upsample(np.full((3, 3), 0.7), (1, 1)), 0.7, atol=1e-6)
    np.testing.assert_allclose(MapUpsampler(1, 4.0, align_corners=True).upsample(np.full((1, 1), 0.2), (9, 5)), 0.2)


def test_bad_settings_and_grids_are_refused():
    with pytest.raises(ValueError, match="odd"):
        MapUpsampler(8, box=2)
    with pytest.raises(ValueError, match="sigmoid_mean"):
        MapUpsampler(8, combine="sigmoid")
    with pytest.raises(ValueError, match="stride_px"):
        MapUpsampler(0)
    with pytest.raises(ValueError, match="grids"):
        MapUpsampler(8).upsample(np.zeros(4), (8, 8))
    with pytest.raises(ValueError, match="1 px"):
        MapUpsampler(8).upsample(np.zeros((2, 2)), (0, 8))
