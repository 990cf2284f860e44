"""Two processes score each image once and give the figures of one; histograms add up over processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.dist import get_rank

from helpers.anomaly_fixtures import noisy_maps
from helpers.two_processes import in_two_processes
from ovperc.data.world.anomaly import WorldAnomaly
from ovperc.evaluation.anomaly import AnomalyEvaluation
from ovperc.evaluation.anomaly_settings import AnomalyEvalSettings
from ovperc.evaluation.metrics.anomaly_histogram import ScoreHistogram, uniform_edges
from ovperc.evaluation.request import EvalOptions
from ovperc.evaluation.run import join_processes, score_images
from ovperc.evaluation.store import PartStore
from ovperc.tasks.anomaly.map_upsampler import MapUpsampler
from ovperc.tasks.anomaly.score import AnomalyScore


class _Brightness:
    head, upsampler = SimpleNamespace(needs_fit=False), MapUpsampler(8)

    def score(self, images: list[np.ndarray], object_name: str) -> list[AnomalyScore]:
        grids = [image.reshape(14, 8, 14, 8, 3).mean((1, 3, 4)).astype(np.float32) for image in images]
        return [AnomalyScore(grid, float(grid.max()), (112, 112)) for grid in grids]


def test_two_processes_give_the_figures_of_one(tmp_path: Path) -> None:
    images = WorldAnomaly(good=2, per_kind=1, categories=("marble", "ring", "square"))

    def work(launcher: str) -> tuple[dict[str, dict[str, float]], int]:
        join_processes(launcher)
        store = PartStore(tmp_path / launcher)
        evaluation = AnomalyEvaluation(images, _Brightness(), AnomalyEvalSettings(shots=0))
        present = score_images(evaluation, store, range(len(images)), EvalOptions())
        parts = len(list((tmp_path / launcher).glob("part-*")))
        return {name: scores.figures for name, scores in evaluation.count(store, present).items()}, parts

    alone, parts = work("none")
    assert parts == 1
    first, second = in_two_processes(lambda: work("pytorch"))
    assert first == second
    assert first[1] == 2
    assert list(first[0]) == list(alone)
    for name, figures in alone.items():
        assert first[0][name] == pytest.approx(figures, nan_ok=True)


def test_histograms_of_processes_add_up() -> None:
    maps = noisy_maps(6)

    def count(launcher: str) -> tuple[list[int], int]:
        join_processes(launcher)
        histogram = ScoreHistogram(uniform_edges(-4, 4, 8))
        for item in maps if launcher == "none" else maps[get_rank() :: 2]:
            histogram.add(item)
        histogram.all_reduce()
        return [*histogram.positives.tolist(), *histogram.negatives.tolist()], histogram.regions

    first, second = in_two_processes(lambda: count("pytorch"))
    assert first == second == count("none")
