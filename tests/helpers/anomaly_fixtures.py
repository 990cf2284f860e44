"""Small maps with defects, and plain implementations of the figures over them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from ovperc.evaluation.metrics.anomaly_counts import ScoredMap


def noisy_maps(
    count: int = 8, hw: tuple[int, int] = (40, 32), step: float = 0.0, seed: int = 0, good_share: float = 0.4
) -> list[ScoredMap]:
    """Maps of noise that is higher on defects; with ``step``, scores are rounded to it so that many tie."""
    rng = np.random.default_rng(seed)
    maps = []
    for index in range(count):
        mask = np.zeros(hw, bool)
        if rng.random() >= good_share:
            for _ in range(int(rng.integers(1, 4))):
                y, x = rng.integers(0, hw[0] - 3), rng.integers(0, hw[1] - 3)
                mask[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = True
        scores = rng.normal(size=hw) + 1.1 * mask
        scores = np.round(scores / step) * step if step else scores
        maps.append(ScoredMap(scores.astype(np.float32), mask if mask.any() else None, f"map {index}"))
    return maps


def all_pixels(maps: Sequence[ScoredMap]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of all pixels."""
    labels = [np.zeros(item.scores.shape, bool) if item.mask is None else item.mask for item in maps]
    return np.concatenate([item.scores.ravel() for item in maps]), np.concatenate([m.ravel() for m in labels])


def plain_aupro(maps: Sequence[ScoredMap], limit: float) -> float:
    """Area under PRO over FPR, one threshold after the other, regions by scipy."""
    scores, labels = all_pixels(maps)
    regions = []
    for item in maps:
        mask = np.zeros(item.scores.shape, bool) if item.mask is None else item.mask
        numbers, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [item.scores[numbers == number + 1] for number in range(count)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(scores)[::-1]:
        rate = float((scores[~labels] >= threshold).mean())
        points.append((rate, float(np.mean([(region >= threshold).mean() for region in regions]))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            y1, x1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0), limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def plain_legacy_aupro(maps: Sequence[ScoredMap], limit: float = 0.3, steps: int = 200) -> float:
    """The 200-step estimator as its published form does it: every map thresholded, every region counted."""
    scores = np.concatenate([item.scores.ravel() for item in maps]).astype(np.float64)
    _, labels = all_pixels(maps)
    low, high = scores.min(), scores.max()
    rates, overlaps = [], []
    for threshold in np.arange(low, high, (high - low) / steps):
        shares = []
        for item in maps:
            if item.mask is None:
                continue
            numbers, count = ndimage.label(item.mask, np.ones((3, 3)))
            above = item.scores.astype(np.float64) > threshold
            shares += [above[numbers == number + 1].mean() for number in range(count)]
        overlaps.append(np.mean(shares))
        rates.append((scores[~labels] > threshold).mean())
    rates, overlaps = np.array(rates), np.array(overlaps)
    overlaps, rates = overlaps[rates < limit], rates[rates < limit]
    rates = (rates - rates.min()) / (rates.max() - rates.min())
    return float(np.trapezoid(overlaps[::-1], rates[::-1]))
