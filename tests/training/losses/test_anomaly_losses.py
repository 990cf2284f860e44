"""Losses of anomaly maps by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from ovperc.training.losses.anomaly import dice_loss, focal_loss


def test_focal_loss_by_hand():
    chance = torch.tensor([[[0.9, 0.2], [0.5, 0.6]]])
    target = torch.tensor([[[1, 0], [1, 0]]])
    small = 1e-5

    def one(p: float, y: int) -> float:
        soft = min(max(y, small), 1 - small)
        likely = soft * p + (1 - soft) * (1 - p) + small
        return -((1 - likely) ** 2) * math.log(likely)

    wanted = sum(one(p, y) for p, y in ((0.9, 1), (0.2, 0), (0.5, 1), (0.6, 0))) / 4
    assert float(focal_loss(chance, target)) == pytest.approx(wanted, rel=1e-5)


def test_focal_loss_equals_the_two_channel_form():
    chance = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0))
    target = (torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(1)) > 0.7).long()
    both = torch.stack([1 - chance, chance], dim=1)
    onehot = torch.nn.functional.one_hot(target, 2).permute(0, 3, 1, 2).float().clamp(1e-5, 1 - 1e-5)
    likely = (both * onehot).sum(1) + 1e-5
    assert_close(focal_loss(chance, target), (-((1 - likely) ** 2) * likely.log()).mean())


def test_dice_loss_by_hand_and_on_empty_masks():
    chance = torch.tensor([[[1.0, 0.5]], [[0.0, 0.0]]])
    target = torch.tensor([[[True, False]], [[False, False]]])
    wanted = 1 - ((2 * 1 + 1) / (1.5 + 1 + 1) + 1) / 2
    assert float(dice_loss(chance, target)) == pytest.approx(wanted)


def test_sure_answers_keep_finite_gradients():
    for value in (0.0, 1.0):
        chance = torch.full((1, 2, 2), value, requires_grad=True)
        (focal_loss(chance, torch.ones(1, 2, 2)) + dice_loss(chance, torch.zeros(1, 2, 2))).backward()
        assert torch.isfinite(chance.grad).all()
