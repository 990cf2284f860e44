"""The benchmarks of panoptic segmentation."""

from __future__ import annotations

from pathlib import Path

from ovperc.data.benchmark import ON_DISK, Benchmark
from ovperc.data.layout import resolve_root
from ovperc.data.panoptic.files import PanopticFiles
from ovperc.data.segmentation.sets import COCO_SAMPLE
from ovperc.data.world.benchmark import WORLD_WEIGHTS
from ovperc.data.world.panoptic import WorldPanoptic
from ovperc.text.class_names import load_class_names

_TASK = "panoptic"


def open_coco_sample(root: str | Path | None, split: str = "val2017", partial: bool = False) -> PanopticFiles:
    """The first images of COCO with panoptic labels."""
    folder = resolve_root(root, *COCO_SAMPLE.folders)
    layout = COCO_SAMPLE.layout.of_split(split)
    annotations = folder / "panoptic"
    words = load_class_names("coco_panoptic").classes
    return PanopticFiles(
        annotations / f"panoptic_{split}.json", annotations / split, layout.image_folder(folder), words, partial
    )


PANOPTIC_SETS: tuple[Benchmark, ...] = (
    Benchmark(
        "world-panoptic",
        "instances of pattern x colour objects, half of them with pairs held out of training, and 12 materials",
        WorldPanoptic,
        {"benchmark": "world-novel", "num_scenes": 100, "size_px": 112, "seed": 0},
        task=_TASK,
        weights=WORLD_WEIGHTS,
    ),
    Benchmark(
        "coco-sample-panoptic",
        "first images of COCO val2017, instances of 80 things and 53 stuff classes",
        open_coco_sample,
        {**ON_DISK, "split": COCO_SAMPLE.layout.splits[0]},
        COCO_SAMPLE,
        task=_TASK,
    ),
)
