"""photo-mini's image tower: levels as layers, one pass, alignment of the grids."""

import pytest
import torch
from torch.nn import functional as F

from ovperc.backbones.base import POOLED
from ovperc.backbones.clip_pyramid import ClipPyramid
from ovperc.backbones.loading import build_backbone
from ovperc.backbones.photo_mini import build_photo_mini


@pytest.fixture(scope="module")
def tower() -> ClipPyramid:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_backbone(build_photo_mini().visual).eval()


def _images(height: int, width: int) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("side_hw", [(64, 96), (72, 40), (8, 8)])
@torch.no_grad()
def test_every_level_lies_on_the_grid_of_stride_8(tower: ClipPyramid, side_hw: tuple[int, int]) -> None:
    found = tower.forward_dense(_images(*side_hw), ["0.out", "1.out", "2.out", "-1.v"])
    assert found.grid_hw == (side_hw[0] // 8, side_hw[1] // 8)
    assert [found[f"{layer}.out"].shape[-1] for layer in range(3)] == [40, 112, 1280]
    assert found["3.v"].shape == (1, found.grid_hw[0] * found.grid_hw[1], tower.width)


@torch.no_grad()
def test_the_embedding_is_the_mean_of_the_projected_positions(tower: ClipPyramid) -> None:
    images = _images(64, 96)
    found = tower.forward_dense(images, ["-1.v", POOLED])
    projected = tower.project(found["-1.v"])
    torch.testing.assert_close(projected, F.normalize(found["-1.v"], dim=-1))
    torch.testing.assert_close(found[POOLED], projected.mean(dim=1))
    torch.testing.assert_close(tower.tower(images), found[POOLED])


@torch.no_grad()
def test_a_side_that_is_no_multiple_of_32_is_filled_up(tower: ClipPyramid) -> None:
    images = _images(64, 64)
    images[..., 40:, :] = 0
    filled = tower.forward_dense(images, ["1.out", "-1.v"])
    cut = tower.forward_dense(images[..., :40, :], ["1.out", "-1.v"])
    for tap in ("1.out", "-1.v"):
        torch.testing.assert_close(cut[tap], filled[tap].unflatten(1, (8, 8))[:, :5].flatten(1, 2))


def test_attention_taps_are_refused(tower: ClipPyramid) -> None:
    with pytest.raises(ValueError, match="holds no attention"):
        tower.forward_dense(_images(64, 64), ["-1.q"])
