"""The affinity measure against a count of all pairs of pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovperc.evaluation.metrics.affinity import affinity_auc, patch_labels


def test_auc_counts_pairs_of_pairs():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, -1])
    features = torch.randn(7, 4, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels.clamp(min=0), 4)
    unit = torch.nn.functional.normalize(features, dim=-1)[:6]
    same, other = [], []
    for i in range(6):
        for j in range(i + 1, 6):
            (same if labels[i] == labels[j] else other).append(float(unit[i] @ unit[j]))
    wins = np.mean([a > b for a in same for b in other])
    assert affinity_auc(features, labels) == pytest.approx(wins)
    assert affinity_auc(features, torch.zeros(7)) is None


def test_only_pure_patches_count():
    labels = np.zeros((4, 8), int)
    labels[:, 4:] = 1
    labels[0, 6] = 0
    assert patch_labels(labels, (2, 4)).tolist() == [0, 0, 1, -1, 0, 0, 1, 1]
