"""DITO's shifted windows against the stock tower and a plain loop."""

from __future__ import annotations

import pytest
import torch

from helpers.tiny_models import tiny_clip
from ovperc.tasks.detection.shifted_windows import WindowPlan, every, shifted_window_tokens


def pixels(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def stock(backbone, images: torch.Tensor) -> torch.Tensor:
    features = backbone.forward_dense(images, ["-1.final"])
    return features.patches("-1.final").unflatten(1, features.grid_hw)


@torch.no_grad()
def test_without_shift_all_global_is_the_stock_tower() -> None:
    backbone = tiny_clip().backbone
    found = shifted_window_tokens(backbone, pixels(), WindowPlan(2, frozenset(range(3)), 0))
    assert torch.allclose(found, stock(backbone, pixels()), atol=1e-5)


@torch.no_grad()
def test_a_shift_of_tokens_is_a_shift_of_pixels_with_positions_left_in_place() -> None:
    backbone = tiny_clip().backbone
    found = shifted_window_tokens(backbone, pixels(), WindowPlan(1, frozenset(), 2))
    moved = stock(backbone, torch.roll(pixels(), (-16, 16), (2, 3)))
    wanted = (stock(backbone, pixels()) + torch.roll(moved, (2, -2), (1, 2))) / 2
    assert torch.allclose(found, wanted, atol=1e-5)


@torch.no_grad()
def test_windows_do_not_see_each_other() -> None:
    """Every block is local, so a change in one corner leaves what the class token does not carry elsewhere."""
    backbone = tiny_clip().backbone
    plan = WindowPlan(2, frozenset(), 0)
    changed = pixels(1)
    changed[:, :, :24, :24] += 3
    before, after = shifted_window_tokens(backbone, pixels(1), plan), shifted_window_tokens(backbone, changed, plan)
    moved = (before - after).abs().amax(dim=-1)[0]
    assert moved[:3, :3].min() > 10 * moved[3:, 3:].max()


def test_answers_do_not_depend_on_neighbours_and_bad_grids_are_refused() -> None:
    backbone = tiny_clip().backbone
    plan = WindowPlan(3, every(3, 3), 1)
    assert every(12, 3) == {2, 5, 8, 11}
    with torch.no_grad():
        both = shifted_window_tokens(backbone, pixels(), plan)
        assert torch.allclose(both[1:], shifted_window_tokens(backbone, pixels()[1:], plan), atol=1e-5)
    with pytest.raises(ValueError, match="do not divide"):
        shifted_window_tokens(backbone, pixels(), WindowPlan(4))
