"""Ratios measured in pairs, so that a drifting machine does not colour them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ratio:
    """Times of two callables run in turn.

    Attributes:
        ours_s, base_s: median seconds.
        ratio: median of the pairwise ratios ours / base.
        low, high: smallest and largest pairwise ratio.
        runs: number of pairs.
    """

    ours_s: float
    base_s: float
    ratio: float
    low: float
    high: float
    runs: int

    def __str__(self) -> str:
        times = f"{self.ours_s * 1e3:.1f} ms over {self.base_s * 1e3:.1f} ms"
        return f"{times}, pairs {self.low:.3f}-{self.high:.3f}"


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def paired_ratio(
    ours: Callable[[], object],
    base: Callable[[], object],
    runs: int = 7,
    warmup: int = 1,
    device: torch.device | str = "cpu",
) -> Ratio:
    """Times ``ours`` and ``base`` in turn (A B A B ...) after ``warmup`` pairs that are not counted."""
    if runs < 1:
        raise ValueError(f"runs must be at least 1; got {runs}")
    device = torch.device(device)
    pairs = []
    for index in range(warmup + runs):
        pair = _seconds(ours, device), _seconds(base, device)
        if index >= warmup:
            pairs.append(pair)
    ratios = [a / b for a, b in pairs]
    return Ratio(
        ours_s=statistics.median(a for a, _ in pairs),
        base_s=statistics.median(b for _, b in pairs),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        runs=runs,
    )
