"""Resize rule, window rule, padding and pixel functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovperc.tiling import Tiler, tile_starts

SIZES = [(375, 500), (500, 375), (17, 900), (900, 17), (3, 5), (1, 3000), (224, 224), (225, 449)]


def reference_windows(length, crop, stride):
    """Start and end of every window, as mmsegmentation's sliding inference writes it."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    windows = []
    for index in range(count):
        end = min(index * stride + crop, length)
        windows.append((max(end - crop, 0), end))
    return windows


@pytest.mark.parametrize("length", [1, 16, 100, 223, 224, 225, 336, 337, 448, 1000])
@pytest.mark.parametrize(("crop", "stride"), [(224, 112), (224, 224), (448, 224), (64, 50)])
def test_windows_follow_the_rule_and_cover_everything(length, crop, stride):
    starts = tile_starts(length, crop, stride)
    expected = reference_windows(length, crop, stride)
    assert [(start, start + min(crop, length)) for start in starts] == expected
    covered = np.zeros(length, bool)
    for start, end in expected:
        covered[start:end] = True
    assert covered.all()
    assert expected[-1][1] == length


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("short", [336, 448])
def test_short_side_rule(size_hw, short):
    factor = min(2048 / max(size_hw), short / min(size_hw))
    expected = tuple(max(int(side * factor + 0.5), 16) for side in size_hw)
    assert Tiler(short_side_px=short).resized_hw(size_hw, 16) == expected


@pytest.mark.parametrize("size_hw", SIZES)
def test_image_keeps_its_size_without_a_short_side(size_hw):
    expected = tuple(max(side, 16) for side in size_hw)
    assert Tiler(max_long_side_px=None).resized_hw(size_hw, 16) == expected


def test_shorter_side_follows_the_longer_one():
    """Trident's evaluation: the longer side to the next multiple, the shorter scaled, cut down, and rounded up."""
    tiler = Tiler(short_side_px=448, whole_patches=True, follow_long_side=True)
    assert tiler.resized_hw((448, 597), 16) == (464, 608)
    assert tiler.resized_hw((597, 448), 16) == (608, 464)
    assert tiler.resized_hw((448, 608), 16) == (448, 608)
    assert Tiler(short_side_px=448, whole_patches=True).resized_hw((448, 597), 16) == (448, 608)


def test_scale_and_long_side_limit():
    assert Tiler(scale=2.0).resized_hw((100, 211), 8) == (200, 422)
    assert Tiler(scale=2.0, max_long_side_px=211).resized_hw((100, 211), 8) == (100, 211)


@pytest.mark.parametrize("pad", ["none", "symmetric", "end"])
@pytest.mark.parametrize("size_hw", SIZES)
def test_every_window_holds_at_least_a_patch(pad, size_hw):
    tiler = Tiler(short_side_px=50, max_long_side_px=200, crop_px=40, stride_px=30, pad=pad)
    geometry = tiler.plan(size_hw, 16)
    assert min(geometry.crop_hw) >= 16
    if pad != "none":
        assert all(side % 16 == 0 for side in geometry.tile_hw)
    images = torch.randn(2, 3, *geometry.resized_hw)
    tiles = tiler.tiles(images, geometry)
    assert tiles.shape == (2 * geometry.num_tiles, 3, *geometry.tile_hw)


def test_tiles_are_image_major_and_padded_with_zeros():
    tiler = Tiler(short_side_px=None, crop_px=20, stride_px=12, pad="symmetric", pad_multiple_px=8)
    geometry = tiler.plan((33, 41), 4)
    images = torch.randn(3, 3, 33, 41)
    tiles = tiler.tiles(images, geometry).unflatten(0, (3, geometry.num_tiles))
    assert geometry.pad_tblr == (2, 2, 2, 2)
    index = 0
    for y0, y1 in reference_windows(33, 20, 12):
        for x0, x1 in reference_windows(41, 20, 12):
            assert torch.equal(tiles[:, index, :, 2:-2, 2:-2], images[..., y0:y1, x0:x1])
            index += 1
    assert index == geometry.num_tiles
    assert tiles[..., :2, :].abs().max() == 0
    assert tiles[..., -2:].abs().max() == 0


def test_end_padding_is_at_the_bottom_and_right():
    geometry = Tiler(pad="end").plan((33, 48), 16)
    assert geometry.pad_tblr == (0, 15, 0, 0)
    assert not geometry.crop_padding


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"pad": "symetric"}, "symmetric"),
        ({"short_side_px": 0}, "short_side_px must be positive"),
        ({"crop_px": 10, "stride_px": 20}, "stride_px 20 is larger"),
        ({"crop_px": -1}, "must not be negative"),
        ({"short_side_px": 100, "scale": 2.0}, "scale applies"),
    ],
)
def test_wrong_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        Tiler(**settings)


def test_impossible_images_are_refused():
    with pytest.raises(ValueError, match="at least one pixel"):
        Tiler().plan((0, 10), 16)
    with pytest.raises(ValueError, match="smaller than one patch"):
        Tiler(crop_px=8).plan((100, 100), 16)
    tiler = Tiler()
    with pytest.raises(ValueError, match="must be resized"):
        tiler.tiles(torch.zeros(1, 3, 9, 9), tiler.plan((32, 32), 16))
