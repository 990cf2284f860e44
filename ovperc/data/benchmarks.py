"""The table of benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ovperc.core.naming import suggest
from ovperc.data.anomaly.sets import ANOMALY_SETS
from ovperc.data.benchmark import Benchmark
from ovperc.data.detection.sets import DETECTION_SETS
from ovperc.data.panoptic.sets import PANOPTIC_SETS
from ovperc.data.segmentation.benchmark import SegmentationBenchmark
from ovperc.data.segmentation.sets import SEGMENTATION_SETS
from ovperc.data.world.anomaly import WorldAnomaly
from ovperc.data.world.benchmark import WORLD_WEIGHTS, build_benchmark


def _world(name: str, title: str, num_scenes: int = 200) -> SegmentationBenchmark:
    options = {"num_scenes": num_scenes, "size_px": 112, "seed": 0}
    return SegmentationBenchmark(name, title, partial(build_benchmark, name), options, weights=WORLD_WEIGHTS)


_WORLD: tuple[Benchmark, ...] = (
    _world("world-materials", "12 materials of the procedural world"),
    _world("world-base", "pattern x colour objects on materials, pairs seen in training"),
    _world("world-novel", "the same, with half of the objects from pairs held out of training"),
    _world("world-shapes", "colour x shape objects on materials (hard)"),
    _world("world-real", "mosaics of photographs of brick, grass and gravel", num_scenes=100),
    Benchmark(
        "world-anomaly",
        "anomalies on 10 products of the world; products and defect types held out of training",
        WorldAnomaly,
        {"split": "test", "good": 16, "per_kind": 6, "normal": 16, "size_px": 112, "seed": 0, "categories": None},
        task="anomaly",
        weights={**WORLD_WEIGHTS, "patch_memory": "dino-mini"},
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = {
    row.name: row for row in (*_WORLD, *DETECTION_SETS, *SEGMENTATION_SETS, *PANOPTIC_SETS, *ANOMALY_SETS)
}


def get_benchmark(name: str) -> Benchmark:
    """Looks up a benchmark by name; dashes and underscores are equivalent.

    Raises:
        ValueError: there is no such benchmark; the message suggests close matches.
    """
    known = {row.replace("_", "-"): row for row in BENCHMARKS}
    key = name.replace("_", "-")
    if key not in known:
        raise ValueError(f"unknown benchmark {name!r}; {suggest(name, BENCHMARKS)}")
    return BENCHMARKS[known[key]]
