"""Cases of anomaly figures: against the usual scipy and scikit-learn pipeline, and memory over many images."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.case import Case, Measurement, Options
from benchmarks.memory import peak_memory
from ovperc.core.timing import paired_ratio

MAPS, SIDE_PX, GRID = 100, 512, 32
STEPS, LIMIT = 200, 0.3


def sample_maps(count: int, side_px: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth noise that is higher on defects, ``(count, S, S)`` float32, and masks bool; every third image is good."""
    import cv2

    rng = np.random.default_rng(seed)
    maps, masks = np.empty((count, side_px, side_px), np.float32), np.zeros((count, side_px, side_px), bool)
    for index in range(count):
        grid = rng.normal(size=(GRID, GRID)).astype(np.float32)
        if index % 3:
            for _ in range(int(rng.integers(1, 4))):
                canvas = np.zeros((side_px, side_px), np.uint8)
                centre, axes = rng.integers(0, side_px, 2).tolist(), rng.integers(6, side_px // 12, 2).tolist()
                cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
                masks[index] |= canvas.astype(bool)
            grid += 2 * cv2.resize(masks[index].astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        maps[index] = cv2.GaussianBlur(cv2.resize(grid, (side_px, side_px)), (0, 0), 4)
    return maps, masks


def usual_pipeline(maps: np.ndarray, masks: np.ndarray, label_once: bool = False) -> dict[str, float]:
    """Figures as published evaluation scripts compute them: all pixels at once, regions labelled at every threshold.

    Args:
        maps: ``(N, H, W)`` float32.
        masks: ``(N, H, W)`` bool.
        label_once: label regions once, before the thresholds, which the scripts do not.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    scores, labels = maps.ravel(), masks.ravel()
    precision, recall, _ = precision_recall_curve(labels, scores)
    regions = [_regions(mask) for mask in masks] if label_once else None
    overlaps, rates = [], []
    low, high = float(scores.min()), float(scores.max())
    for threshold in np.arange(low, high, (high - low) / STEPS):
        above = maps > threshold
        shares: list[float] = []
        for index, mask in enumerate(masks):
            found = regions[index] if regions else _regions(mask)
            shares += [float(above[index].ravel()[pixels].mean()) for pixels in found]
        overlaps.append(np.mean(shares))
        rates.append((above & ~masks).sum() / (~masks).sum())
    kept = np.array(rates) < LIMIT
    rate, overlap = np.array(rates)[kept], np.array(overlaps)[kept]
    rate = (rate - rate.min()) / (rate.max() - rate.min())
    return {
        "AUROC": roc_auc_score(labels, scores),
        "AP": average_precision_score(labels, scores),
        "F1": float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()),
        "PRO": float(abs(np.trapezoid(overlap, rate))),
    }


def _regions(mask: np.ndarray) -> list[np.ndarray]:
    """Flat indices of the pixels of each region."""
    from scipy import ndimage

    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    places = np.flatnonzero(mask)
    return [places[numbers.ravel()[places] == number] for number in range(1, count + 1)]


def anomaly_metrics_speed(options: Options) -> Iterator[Measurement]:
    """The usual scipy + scikit-learn pipeline over ours: AUROC, AP, F1-max and PRO of 100 maps of 512 x 512."""
    from ovperc.evaluation.metrics.anomaly import pixel_scores
    from ovperc.evaluation.metrics.anomaly_counts import ScoredMap

    maps, masks = sample_maps(MAPS, SIDE_PX)
    items = [ScoredMap(scores, mask if mask.any() else None) for scores, mask in zip(maps, masks, strict=True)]

    def ours() -> Any:
        return pixel_scores(lambda: items, legacy=True)

    found, usual = ours(), usual_pipeline(maps[:6], masks[:6])
    few = pixel_scores(lambda: items[:6], legacy=True)
    pairs = (few.ranking.auroc, usual["AUROC"]), (few.ranking.ap, usual["AP"]), (few.ranking.f1_max, usual["F1"])
    gap = max(abs(a - b) for a, b in (*pairs, (few.legacy_aupro, usual["PRO"])))
    setting = f"{MAPS} maps of {SIDE_PX} x {SIDE_PX}, {found.positives} defective pixels, {found.regions} regions"
    rows = (
        ("AUROC, AP, F1-max, PRO as published scripts over ours with exact AUPRO at two limits beside it", False, 10.0),
        ("the same with regions labelled once", True, None),
    )
    for text, label_once, limit in rows:
        ratio = paired_ratio(lambda once=label_once: usual_pipeline(maps, masks, once), ours, min(options.runs, 2), 0)
        detail = f"{ratio}; largest difference of a figure on 6 maps {gap:.1g}"
        yield Measurement("anomaly-metrics-speed", f"{text}, {setting}", ratio.ratio, "x", limit, False, detail)


@dataclass(frozen=True)
class _Drawn:
    """Images that are all alike but for their number; nothing is kept."""

    count: int
    side_px: int = 112
    categories = ("part",)
    words = {"part": "part"}  # noqa: RUF012 (read only)

    @cached_property
    def records(self) -> Any:
        from ovperc.data.anomaly.records import GOOD, AnomalyRecord

        kinds = (GOOD, "spot")
        return [AnomalyRecord(f"part/{i}", "part", kinds[i % 2], bool(i % 2)) for i in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        from ovperc.data.anomaly.records import AnomalySample

        mask = np.zeros((self.side_px, self.side_px), bool)
        if index % 2:
            mask[20:50, 30:60] = True
        return AnomalySample(np.full((*mask.shape, 3), index % 251, np.uint8), mask, self.records[index])


class _Noise:
    """A predictor that costs nothing."""

    def __init__(self) -> None:
        from ovperc.tasks.anomaly.map_upsampler import MapUpsampler

        self.head, self.upsampler, self.count = SimpleNamespace(needs_fit=False), MapUpsampler(8), 0

    def score(self, images: list[np.ndarray], object_name: str) -> list[Any]:
        from ovperc.tasks.anomaly.score import AnomalyScore

        self.count += len(images)
        grids = np.random.default_rng(self.count).normal(size=(len(images), 14, 14)).astype(np.float32)
        return [AnomalyScore(grid, float(grid.max()), (112, 112)) for grid in grids]


def many_maps_call(count: int) -> Callable[[], object]:
    """Prepares the evaluation of ``count`` generated images; the call that is returned runs it."""
    import torch

    from ovperc.evaluation.anomaly import AnomalyEvaluation
    from ovperc.evaluation.anomaly_settings import AnomalyEvalSettings
    from ovperc.evaluation.request import EvalOptions
    from ovperc.evaluation.run import score_images
    from ovperc.evaluation.store import PartStore

    torch.set_num_threads(1)
    protocol = AnomalyEvalSettings(shots=0, max_positives=1 << 16, legacy_pro=False)

    def call() -> object:
        with tempfile.TemporaryDirectory() as folder:
            evaluation = AnomalyEvaluation(_Drawn(count), _Noise(), protocol)  # type: ignore[arg-type]
            store = PartStore(Path(folder))
            return evaluation.count(store, score_images(evaluation, store, range(count), EvalOptions()))

    return call


def anomaly_memory_over_images(options: Options) -> Iterator[Measurement]:
    """Peak memory of an anomaly evaluation of 1,000 images less that of 200; 450 defective pixels an image."""
    few, many = (peak_memory(many_maps_call, count=count) for count in (200, 1000))
    yield Measurement(
        "anomaly-memory-over-images",
        "peak memory, 1,000 images less 200, 112 x 112, 65,536 defective pixels held at a time",
        many.peak_mib - few.peak_mib,
        "MiB",
        limit=16.0,
        detail=f"{many.peak_mib:.0f} MiB, {few.peak_mib:.0f} MiB",
    )


CASES = tuple(
    Case(run.__name__.replace("_", "-"), (run.__doc__ or "").strip(), run)
    for run in (anomaly_metrics_speed, anomaly_memory_over_images)
)
