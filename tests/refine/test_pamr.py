"""PAMR against a double loop over pixels, and its invariants."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ovperc.refine import PAMR
from ovperc.registry import REFINERS


def naive(guidance, maps, steps, dilations):
    """Every pixel by itself, samples looked up with clamped coordinates."""
    height, width = guidance.shape[-2:]
    offsets = [(dy * d, dx * d) for d in dilations for dy in (-1, 0, 1) for dx in (-1, 0, 1)]

    def at(tensor, y, x):
        return tensor[:, min(max(y, 0), height - 1), min(max(x, 0), width - 1)]

    weights = {}
    for y in range(height):
        for x in range(width):
            samples = torch.stack([at(guidance, y + dy, x + dx) for dy, dx in offsets])
            sigma = samples.std(dim=0, unbiased=True)
            around = [offset for offset in offsets if offset != (0, 0)]
            logits = [
                (-(guidance[:, y, x] - at(guidance, y + dy, x + dx)).abs() / (1e-8 + 0.1 * sigma)).mean()
                for dy, dx in around
            ]
            weights[y, x] = list(zip(around, torch.softmax(torch.stack(logits), dim=0), strict=True))
    for _ in range(steps):
        after = torch.zeros_like(maps)
        for (y, x), samples in weights.items():
            for (dy, dx), weight in samples:
                after[:, y, x] += weight * at(maps, y + dy, x + dx)
        maps = after
    return maps


@pytest.mark.parametrize("dilations", [(1,), (1, 2), (2, 5, 12)])
def test_equals_the_double_loop(dilations):
    generator = torch.Generator().manual_seed(0)
    guidance, maps = torch.rand(3, 8, 8, generator=generator), torch.randn(4, 8, 8, generator=generator)
    pamr = PAMR(steps=3, dilations=dilations)
    refined = pamr.refine(maps, pamr.prepare(guidance))
    torch.testing.assert_close(refined, naive(guidance, maps, 3, dilations), atol=1e-5, rtol=1e-5)


def test_affine_change_of_the_guide_changes_nothing():
    guidance, maps = torch.rand(3, 20, 31), torch.randn(2, 20, 31)
    scale, offset = torch.tensor([40.0, 0.2, 3.0]).view(3, 1, 1), torch.tensor([100.0, -1.0, 0.0]).view(3, 1, 1)
    pamr = PAMR(steps=4)
    first = pamr.refine(maps, pamr.prepare(guidance))
    torch.testing.assert_close(pamr.refine(maps, pamr.prepare(guidance * scale + offset)), first, atol=1e-4, rtol=1e-4)


def test_zero_steps_is_the_identity_and_leaves_the_input_alone():
    guidance, maps = torch.rand(3, 9, 11), torch.randn(2, 9, 11)
    pamr = PAMR(steps=0)
    refined = pamr.refine(maps, pamr.prepare(guidance))
    assert torch.equal(refined, maps)
    assert refined.data_ptr() != maps.data_ptr()


def test_a_constant_map_stays_and_weights_sum_to_one():
    guidance = torch.rand(3, 13, 17)
    guidance[:, :6] = 0.5
    pamr = PAMR(steps=10)
    state = pamr.prepare(guidance)
    torch.testing.assert_close(state.weights.sum(dim=0), torch.ones(13, 17))
    torch.testing.assert_close(pamr.refine(torch.full((2, 13, 17), 0.3), state), torch.full((2, 13, 17), 0.3))


def test_channels_are_linear_and_independent():
    guidance, maps = torch.rand(3, 16, 12), torch.randn(5, 16, 12)
    pamr = PAMR(steps=3, dilations=(1, 4))
    state = pamr.prepare(guidance)
    together = pamr.refine(maps, state)
    assert torch.equal(together[2:3], pamr.refine(maps[2:3], state))
    torch.testing.assert_close(pamr.refine(2 * maps[:1] - maps[1:2], state)[0], 2 * together[0] - together[1])


def test_small_maps_are_resized_with_aligned_corners():
    guidance, maps = torch.rand(3, 16, 12), torch.randn(2, 5, 7)
    pamr = PAMR(steps=0)
    expected = F.interpolate(maps[None], size=(16, 12), mode="bilinear", align_corners=True)[0]
    torch.testing.assert_close(pamr.refine(maps, pamr.prepare(guidance)), expected)


def test_settings_and_registry():
    assert REFINERS.build({"type": "PAMR", "steps": 2}).dilations == (8, 16)
    with pytest.raises(ValueError, match="steps"):
        PAMR(steps=-1)
    with pytest.raises(ValueError, match="dilations"):
        PAMR(dilations=(0, 4))
