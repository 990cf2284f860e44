"""The absent-class protocol against brute force."""

import numpy as np
import pytest
import torch

from ovperc.core.structures import Background, TextBank
from ovperc.evaluation.metrics.presence import PresenceMeter, choose_absent, restrict_bank

GENERATOR = torch.Generator().manual_seed(0)


def test_auroc_and_false_area_equal_brute_force():
    meter = PresenceMeter()
    areas, scores, truths = [], [], []
    for _ in range(5):
        labels = torch.randint(0, 5, (8, 9), generator=GENERATOR)
        # Few levels, so that there are ties.
        confidence = torch.randint(0, 6, (8, 9), generator=GENERATOR) / 5
        counted = torch.rand(8, 9, generator=GENERATOR) > 0.2
        is_present = [None, True, False, True, False]
        labels[labels == 3] = 1
        meter.update(labels.int(), confidence, counted, is_present)
        areas.append(np.mean([is_present[int(label)] is False for label in labels[counted]]))
        for label, state in enumerate(is_present):
            if state is not None:
                won = confidence[counted & (labels == label)]
                scores.append(float(won.max()) if len(won) else 0.0)
                truths.append(state)
    pairs = [
        (a > b) + 0.5 * (a == b)
        for a, first in zip(scores, truths, strict=True) if first
        for b, second in zip(scores, truths, strict=True) if not second
    ]  # fmt: skip
    assert meter.auroc() == pytest.approx(100 * np.mean(pairs), abs=1e-9)
    assert meter.false_area() == pytest.approx(100 * np.mean(areas), abs=1e-9)


def test_a_perfect_and_a_blind_method():
    perfect, blind = PresenceMeter(), PresenceMeter()
    everywhere = torch.ones(4, 4, dtype=torch.bool)
    perfect.update(torch.zeros(4, 4, dtype=torch.int32), torch.full((4, 4), 0.9), everywhere, [True, False])
    blind.update(torch.ones(4, 4, dtype=torch.int32), torch.full((4, 4), 0.9), everywhere, [True, False])
    assert perfect.scores() == {"false_area": 0, "presence_AUROC": 100}
    assert blind.scores() == {"false_area": 100, "presence_AUROC": 0}


def test_choice_depends_on_the_image_only():
    chosen = choose_absent([1, 4], range(10), 3, "voc21/2007_000033")
    assert chosen == choose_absent([4, 1], range(10), 3, "voc21/2007_000033")
    assert len(chosen) == 3 and not {1, 4} & set(chosen)
    others = {choose_absent([1, 4], range(10), 3, f"image {index}") for index in range(20)}
    assert len(others) > 5
    assert choose_absent([0], range(3), 9, "x") == (1, 2)


def test_restricted_bank_keeps_rows_in_order():
    bank = TextBank(torch.eye(6), torch.tensor([0, 0, 1, 2, 2, 3]), ("background", "a", "b", "c"), "x",
                    Background(("sky", "sea"), 0.2))  # fmt: skip
    part = restrict_bank(bank, [0, 2])
    assert part.names == ("background", "b") and part.owners.tolist() == [0, 0, 1, 1]
    assert torch.equal(part.embeddings, torch.eye(6)[[0, 1, 3, 4]]) and part.background == bank.background
    for wrong, message in ([[2, 3], "label 0"], [[0, 2, 1], "ascending"], [[], "not empty"]):
        with pytest.raises(ValueError, match=message):
            restrict_bank(bank, wrong)
