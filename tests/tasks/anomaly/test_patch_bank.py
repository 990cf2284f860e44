"""Nearest neighbours and coresets against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ovperc.tasks.anomaly.patch_bank import BankFiller, PatchBank, fill_banks, greedy_coreset
from ovperc.tasks.anomaly.patch_memory import peak_mean, smooth_tokens


def _rows(count: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("metric", "neighbours"), [("cos", 1), ("l2", 1), ("cos", 3), ("l2", 50)])
def test_distances(metric, neighbours):
    filler = BankFiller(metric, neighbours)
    filler.add(_rows(20).view(2, 10, 6))
    tokens = _rows(9, seed=1).view(3, 3, 6)
    found = filler.bank().distances(tokens)
    for token, distance in zip(tokens.view(-1, 6).numpy(), found.flatten().tolist(), strict=True):
        if metric == "cos":
            each = [1 - token @ row / np.linalg.norm(token) / np.linalg.norm(row) for row in _rows(20).numpy()]
        else:
            each = [np.linalg.norm(token - row) for row in _rows(20).numpy()]
        assert distance == pytest.approx(np.mean(sorted(each)[:neighbours]), abs=2e-5)


def test_greedy_coreset_equals_a_loop():
    rows = _rows(40)
    table = torch.cdist(rows.double(), rows.double())
    chosen = [int((rows.double() - rows.double().mean(0)).norm(dim=1).argmax())]
    while len(chosen) < 12:
        chosen.append(int(table[:, chosen].amin(dim=1).argmax()))
    assert greedy_coreset(rows, 12).tolist() == chosen
    assert sorted(greedy_coreset(rows, 99).tolist()) == list(range(40))


def test_equal_rows_are_chosen_once():
    assert sorted(greedy_coreset(torch.ones(5, 3), 5).tolist()) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="at least 1"):
        greedy_coreset(torch.ones(5, 3), 0)


def test_the_bank_never_outgrows_its_cap():
    filler = BankFiller(keep=16)
    for seed in range(20):
        filler.add(_rows(10, seed=seed))
        assert sum(map(len, filler._rows)) < 2 * 16 + 10
    assert len(filler.bank().rows) == 16


def test_half_precision_is_close_and_parts_have_banks_of_their_own():
    images = [[_rows(8).view(1, 8, 6), _rows(4, 3, seed=2).view(1, 4, 3)]]
    exact, half = fill_banks(images), fill_banks(images, dtype=torch.float16)
    assert [bank.rows.shape for bank in exact] == [(8, 6), (4, 3)]
    assert_close(half[0].distances(_rows(5, seed=3)), exact[0].distances(_rows(5, seed=3)), atol=2e-3, rtol=0)


def test_nothing_and_not_numbers_are_refused():
    with pytest.raises(ValueError, match="at least one normal image"):
        fill_banks([])
    with pytest.raises(ValueError, match="not finite"):
        BankFiller().add(torch.full((2, 3), torch.nan))
    with pytest.raises(ValueError, match="cos"):
        PatchBank(_rows(2), "cosine")
    with pytest.raises(ValueError, match="neighbours"):
        PatchBank(_rows(2), "cos", 0)


def test_smoothing_and_peaks():
    tokens = torch.arange(6.0).view(1, 6, 1)
    smooth = smooth_tokens(tokens, (2, 3), 3)[0, :, 0]
    assert_close(smooth, torch.tensor([2.0, 2.5, 3.0, 2.0, 2.5, 3.0]))
    assert smooth_tokens(tokens, (2, 3), 1) is tokens
    assert_close(peak_mean(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), 0.5), torch.tensor([3.5]))
    assert_close(peak_mean(torch.tensor([[1.0, 4.0]]), 0.01), torch.tensor([4.0]))
