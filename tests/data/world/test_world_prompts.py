"""Batches for training without labels and from prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovperc.data.world.prompts import WorldPrompts, rough_mask
from ovperc.data.world.views import WorldViewPairs, relight


def test_views_share_a_grid_and_depend_on_the_index_only():
    dataset = WorldViewPairs(4, scenes=3)
    batch = dataset[2]
    assert batch.images.shape == (2, 3, 3, 48, 48)
    assert batch.images.dtype == torch.uint8
    assert int(batch.corners.min()) >= 0
    assert int(batch.corners.max()) <= (112 - 48) // 4
    shift = (batch.corners[1] - batch.corners[0]).abs()
    assert int(shift.max()) <= 6
    again = WorldViewPairs(4, scenes=3)[2]
    assert torch.equal(batch.images, again.images)
    assert not torch.equal(batch.images, dataset[1].images)


def test_overlapping_patches_show_the_same_place():
    batch = WorldViewPairs(1, scenes=6)[0]
    for scene in range(6):
        dy, dx = (batch.corners[1, scene] - batch.corners[0, scene]).tolist()
        first, second = batch.images[:, scene].float()
        y0, x0 = max(dy, 0) * 4, max(dx, 0) * 4
        y1, x1 = max(-dy, 0) * 4, max(-dx, 0) * 4
        height, width = 48 - abs(dy) * 4, 48 - abs(dx) * 4
        a = first[:, y0 : y0 + height, x0 : x0 + width].flatten()
        b = second[:, y1 : y1 + height, x1 : x1 + width].flatten()
        assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.7


def test_relighting_keeps_the_picture():
    rng = np.random.default_rng(0)
    image = np.full((16, 16, 3), 120, np.uint8)
    lit = relight(image, rng)
    assert lit.dtype == np.uint8
    assert abs(float(lit.mean()) - 120) < 40


def test_views_of_a_wrong_size_are_refused():
    with pytest.raises(ValueError, match="multiple of patch_px"):
        WorldViewPairs(1, window_px=50)


def test_prompts_fit_their_regions():
    batch = WorldPrompts(2, scenes=3, prompts=4)[1]
    assert batch.masks.shape == (12, 1, 112, 112)
    assert batch.image_of.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for mask, point, box in zip(batch.masks[:, 0], batch.points[:, 0], batch.boxes, strict=True):
        x, y = point.long().tolist()
        assert mask[y, x]
        ys, xs = mask.nonzero().T
        tight = torch.tensor([xs.min(), ys.min(), xs.max(), ys.max()]).float()
        assert float((box - tight).abs().max()) < 0.25 * 112
    assert torch.equal(batch.masks, WorldPrompts(2, scenes=3, prompts=4)[1].masks)
    assert bool(batch.objects.any())


def test_rough_masks_lean_the_right_way():
    mask = np.zeros((112, 112), bool)
    mask[30:90, 20:80] = True
    rough = np.mean([rough_mask(mask, 56, np.random.default_rng(seed)) for seed in range(8)], axis=0)
    assert rough.shape == (56, 56)
    assert rough[25:35, 20:30].mean() > 0 > rough[:8, 45:].mean()
