"""The shipped weights through every training-free method: a wrong sign anywhere turns one of these red.

Floors lie a few points under what the methods reach on these scenes (``docs/clip_mini.md``); methods that drop the
residual stream read little out of clip-mini, but far more than the labels of chance.
"""

from __future__ import annotations

from functools import lru_cache

import pytest

import ovperc
from ovperc.data.benchmarks import get_benchmark
from ovperc.evaluation.metrics.miou import ConfusionMatrix

SCENES = 24
FLOORS = {
    "maskclip": {"world-materials": 78.0, "world-base": 34.0},
    "maskclip_ks_pd": {"world-materials": 64.0, "world-base": 23.0},
    "sclip": {"world-materials": 76.0, "world-base": 34.0},
    "clearclip": {"world-materials": 15.0, "world-base": 4.0},
    "naclip": {"world-materials": 15.0, "world-base": 11.0},
    "naclip_pamr": {"world-materials": 14.0, "world-base": 13.0},
    "clip_surgery": {"world-materials": 73.0, "world-base": 44.0},
    "gem": {"world-materials": 57.0, "world-base": 20.0},
}


@lru_cache(maxsize=4)
def _samples(benchmark: str):
    images = get_benchmark(benchmark).images(num_scenes=SCENES)
    return images, [images[index] for index in range(SCENES)]


def _miou(method: str, benchmark: str) -> float:
    source, samples = _samples(benchmark)
    row = get_benchmark(benchmark)
    predictor = ovperc.load(method, row.default_weights(method))
    bank = predictor.bank(row.vocabulary(source))
    matrix = ConfusionMatrix(len(source.classes))
    for sample in samples:
        labels = predictor.segmenter.segment(predictor.encode(sample.image), bank).labels
        matrix.update(labels.numpy(), sample.labels)
    return matrix.scores()["mIoU"]


@pytest.mark.parametrize("method", FLOORS)
@pytest.mark.parametrize("benchmark", ("world-materials", "world-base"))
def test_methods_keep_their_floor(method: str, benchmark: str) -> None:
    assert _miou(method, benchmark) >= FLOORS[method][benchmark]
