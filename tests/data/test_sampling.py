"""Samples depend on the seed and the position only."""

from __future__ import annotations

import itertools
import pickle
import random

import numpy as np
import pytest
import torch

from helpers.tiny_training import NoisyLines
from ovperc.data import PositionSampler, SeededDataset
from ovperc.data.sampling import Draw


def take(sampler: PositionSampler, count: int) -> list[tuple[int, int]]:
    return [(int(draw), draw.position) for draw in itertools.islice(sampler, count)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_each_round_visits_every_sample_once(shuffle: bool) -> None:
    draws = take(PositionSampler(range(7), shuffle=shuffle, seed=1), 21)
    rounds = [[index for index, _ in draws[start : start + 7]] for start in (0, 7, 14)]
    assert all(sorted(visited) == list(range(7)) for visited in rounds)
    assert (rounds[0] == rounds[1]) is not shuffle
    assert [position for _, position in draws] == list(range(21))


def test_advance_goes_on_where_an_unbroken_run_would_be() -> None:
    whole = take(PositionSampler(range(7), seed=3), 30)
    sampler = PositionSampler(range(7), seed=3)
    sampler.advance(17)
    assert take(sampler, 13) == whole[17:]
    assert take(PositionSampler(range(7), seed=4), 30) != whole


def test_processes_share_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = take(PositionSampler(range(5), seed=0), 12)
    for rank in range(3):
        monkeypatch.setattr("ovperc.data.sampling.get_dist_info", lambda rank=rank: (rank, 3))
        sampler = PositionSampler(range(5), seed=0)
        assert take(sampler, 4) == whole[rank::3]
        with pytest.raises(ValueError, match="multiple of 3"):
            sampler.advance(4)


def test_draws_travel_to_worker_processes() -> None:
    draw = pickle.loads(pickle.dumps(Draw(4, 9)))
    assert draw == 4 and draw.position == 9 and "abcdef"[draw] == "e"


def test_augmentation_follows_the_draw_and_leaves_the_generators_alone() -> None:
    dataset = SeededDataset(NoisyLines(), seed=5)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    first = dataset[Draw(3, 40)]["inputs"]
    after = random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    assert after == (random.random(), np.random.rand(), torch.rand(()).item())  # noqa: NPY002
    assert torch.equal(dataset[Draw(3, 40)]["inputs"], first)
    assert not torch.equal(dataset[Draw(3, 41)]["inputs"], first)
    assert not torch.equal(SeededDataset(NoisyLines(), seed=6)[Draw(3, 40)]["inputs"], first)


def test_empty_datasets_are_refused() -> None:
    with pytest.raises(ValueError, match="empty dataset"):
        PositionSampler([])
