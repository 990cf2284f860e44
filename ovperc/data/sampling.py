"""An infinite sampler with a position, so that a resumed run draws the same samples as an uninterrupted one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from ovperc.core.random_state import RandomState
from ovperc.registry import DATA_SAMPLERS, DATASETS


class Draw(int):
    """A dataset index with its position in the sequence of draws over all processes."""

    position: int

    def __new__(cls, index: int, position: int) -> Draw:
        draw = super().__new__(cls, index)
        draw.position = position
        return draw

    def __reduce__(self) -> tuple[type[Draw], tuple[int, int]]:
        return Draw, (int(self), self.position)


@DATA_SAMPLERS.register_module()
class PositionSampler(Sampler[Draw]):
    """An infinite stream of ``Draw`` indices; the order depends only on the seed and the position.

    With several processes, process ``r`` of ``W`` takes positions ``r, r + W, ...`` of a common order.

    Args:
        dataset: dataset to sample from.
        shuffle: reshuffle every epoch; otherwise ``0, 1, 2, ...``.
        seed: seed of the order; ``None`` for a random one shared by all processes.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        if len(dataset) == 0:
            raise ValueError("PositionSampler got an empty dataset; it needs at least one sample")
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.rank, self.world_size = get_dist_info()
        self.start = 0

    def advance(self, samples: int) -> None:
        """Starts the next iteration after ``samples`` draws (over all processes)."""
        if samples < 0 or samples % self.world_size:
            raise ValueError(f"samples must be a non-negative multiple of {self.world_size}; got {samples}")
        self.start = samples

    def __iter__(self) -> Iterator[Draw]:
        position = self.start + self.rank
        order, turn = None, -1
        while True:
            if position // self.size != turn:
                turn = position // self.size
                order = self._order(turn)
            index = position % self.size
            yield Draw(index if order is None else int(order[index]), position)
            position += self.world_size

    def _order(self, turn: int) -> torch.Tensor | None:
        if not self.shuffle:
            return None
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn)
        return torch.randperm(self.size, generator=generator)

    def __len__(self) -> int:
        return self.size


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A dataset whose augmentation depends only on the draw, not on the worker or earlier draws.

    Python's, numpy's and torch's generators are seeded from ``(seed, position)`` for each item.

    Args:
        dataset: the dataset, or its config.
        seed: seed of the augmentation.
    """

    def __init__(self, dataset: Any, seed: int = 0) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed = seed

    @property
    def metainfo(self) -> dict[str, Any]:
        """Of the dataset inside."""
        return dict(getattr(self.dataset, "metainfo", {}))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: int) -> Any:
        before = RandomState.capture(cuda=False)
        words = np.random.SeedSequence((self.seed, getattr(draw, "position", int(draw)))).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(int(words[1]))  # noqa: NPY002 (transforms use the global generator)
        torch.default_generator.manual_seed(int(words[2]))
        try:
            return self.dataset[draw]
        finally:
            before.restore()
