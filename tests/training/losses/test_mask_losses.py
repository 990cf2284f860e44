"""Mask losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ovperc.training.losses.masks import mask_iou, mask_losses, promptable_loss


def test_unsure_masks_by_hand():
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0]])[None, None]
    expected = 2 * math.log(2.0) + 1 - (2 * 0.5 + 1) / (2.0 + 1.0 + 1)
    assert mask_losses(torch.zeros(1, 1, 2, 2), target).item() == pytest.approx(expected)
    sure = (target - 0.5) * 100
    assert mask_losses(sure, target).item() == pytest.approx(0.0, abs=1e-6)


def test_iou_counts_pixels():
    target = torch.tensor([[1.0, 1.0], [0.0, 0.0]])[None, None]
    logits = torch.tensor([[1.0, -1.0], [1.0, -1.0]])[None, None]
    assert mask_iou(logits, target).item() == pytest.approx(1 / 3)
    assert mask_iou(-torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item() == 0.0


def test_only_the_best_alternative_learns_much():
    target = torch.ones(1, 1, 2, 2)
    logits = torch.stack([torch.zeros(2, 2), torch.full((2, 2), 3.0), torch.full((2, 2), -3.0)])[None].requires_grad_()
    losses = promptable_loss(logits, torch.zeros(1, 3), target, ambiguous=True)
    each = mask_losses(logits, target)[0]
    assert losses["loss_single"].item() == pytest.approx(each[0].item())
    assert losses["loss_best"].item() == pytest.approx((each[1] + 0.05 * (each[1] + each[2]) / 2).item())
    assert losses["loss_iou"].item() == pytest.approx(1 / 3)  # found: nothing, all, nothing
    assert "loss_best" not in promptable_loss(logits, torch.zeros(1, 3), target, ambiguous=False)
