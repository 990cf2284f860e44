"""Balanced assignments and soft cross-entropy against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ovperc.training.losses.distillation import balanced_assignments, soft_cross_entropy


def test_rows_sum_to_one_and_prototypes_are_used_alike():
    logits = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) + torch.tensor([9.0, 0, 0, 0, 0])
    table = balanced_assignments(logits, steps=50)
    assert torch.allclose(table.sum(1), torch.ones(60), atol=1e-6)
    assert torch.allclose(table.sum(0), torch.full((5,), 12.0), atol=1e-3)
    assert float(torch.softmax(logits, 1)[:, 0].mean()) > 0.9  # without balance one prototype takes all


def test_far_logits_stay_finite():
    table = balanced_assignments(torch.tensor([[400.0, -400.0], [400.0, -390.0]]))
    assert torch.isfinite(table).all()


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    first, second = math.log(2.0), -math.log(0.75)
    assert soft_cross_entropy(logits, targets).item() == pytest.approx((first + second) / 2)
    assert soft_cross_entropy(logits, targets, torch.tensor([0.0, 1.0])).item() == pytest.approx(second)
    assert soft_cross_entropy(logits, targets, torch.zeros(2)).item() == 0.0
