"""The four resize rules against direct calls of torch's interpolate."""

import pytest
import torch
from torch.nn import functional as F

from ovperc.backbones.pos_embed import MODES, add_pos_embed, resize_pos_embed

TABLE = torch.randn(36, 5, generator=torch.Generator().manual_seed(0))


def _planes(table: torch.Tensor, grid_hw: tuple[int, int]) -> torch.Tensor:
    return table.T.reshape(1, table.shape[1], *grid_hw)


def _rows(planes: torch.Tensor) -> torch.Tensor:
    return planes[0].flatten(1).T


def _square_crop(planes: torch.Tensor, grid_hw: tuple[int, int], align_corners: bool) -> torch.Tensor:
    size = (max(grid_hw), max(grid_hw))
    square = F.interpolate(planes, size=size, mode="bilinear", align_corners=align_corners)
    return square[:, :, : grid_hw[0], : grid_hw[1]]


@pytest.mark.parametrize("grid_hw", [(6, 9), (4, 4), (13, 2), (1, 1)])
@pytest.mark.parametrize("mode", MODES)
def test_equals_torch(mode, grid_hw):
    planes = _planes(TABLE, (6, 6))
    expected = {
        "scale": lambda: F.interpolate(
            planes, scale_factor=((grid_hw[0] + 0.1) / 6, (grid_hw[1] + 0.1) / 6), mode="bicubic"
        ),
        "size": lambda: F.interpolate(planes, size=grid_hw, mode="bicubic", align_corners=False),
        "bilinear_square": lambda: F.interpolate(planes, size=grid_hw, mode="bilinear", align_corners=False),
        "size_aa": lambda: F.interpolate(planes, size=grid_hw, mode="bicubic", antialias=True),
        "square_crop": lambda: _square_crop(planes, grid_hw, align_corners=False),
        "square_crop_corners": lambda: _square_crop(planes, grid_hw, align_corners=True),
    }[mode]()
    resized = resize_pos_embed(TABLE, grid_hw, mode)
    assert resized.shape == (grid_hw[0] * grid_hw[1], 5)
    assert torch.equal(resized, _rows(expected))


def test_scale_keeps_its_factor():
    """The +0.1 moves the sampling points: recomputing the factor from the sizes would be another rule."""
    assert not torch.allclose(resize_pos_embed(TABLE, (9, 9), "scale"), resize_pos_embed(TABLE, (9, 9), "size"))


@pytest.mark.parametrize("mode", MODES)
def test_native_grid_is_untouched(mode):
    assert resize_pos_embed(TABLE, (6, 6), mode) is TABLE


@pytest.mark.parametrize("mode", MODES)
def test_same_count_other_shape_is_resized(mode):
    resized = resize_pos_embed(TABLE, (4, 9), mode)
    assert resized.shape == TABLE.shape
    assert not torch.allclose(resized, TABLE)


def test_batched_table_and_half_precision():
    half = TABLE.half()[None]
    resized = resize_pos_embed(half, (7, 3), "size")
    assert resized.shape == (1, 21, 5) and resized.dtype == torch.float16
    assert torch.equal(resized[0], resize_pos_embed(half[0].float(), (7, 3), "size").half())


def test_rectangular_table():
    resized = resize_pos_embed(TABLE, (8, 18), "size", native_hw=(4, 9))
    expected = F.interpolate(_planes(TABLE, (4, 9)), size=(8, 18), mode="bicubic", align_corners=False)
    assert torch.equal(resized, _rows(expected))


def test_prefix_rows_are_added_as_they_are():
    table = torch.cat([torch.full((2, 5), 7.0), TABLE])
    tokens = add_pos_embed(torch.zeros(3, 2 + 12, 5), table, 2, (3, 4), "size", (6, 6))
    assert torch.equal(tokens[0, :2], torch.full((2, 5), 7.0))
    assert torch.equal(tokens[2, 2:], resize_pos_embed(TABLE, (3, 4), "size"))


def test_bad_arguments():
    with pytest.raises(ValueError, match="did you mean 'scale'"):
        resize_pos_embed(TABLE, (3, 3), "scal")
    with pytest.raises(ValueError, match="35 rows is not square"):
        resize_pos_embed(TABLE[:35], (3, 3), "size")
    with pytest.raises(ValueError, match="does not fill"):
        resize_pos_embed(TABLE, (3, 3), "size", native_hw=(5, 5))
