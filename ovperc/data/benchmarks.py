"""The table of benchmarks: what is asked, on which images, and how it is scored."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ovperc.core.naming import suggest
from ovperc.core.structures import Background
from ovperc.data.anomaly.sets import ANOMALY_SETS
from ovperc.data.eval_settings import eval_settings, family
from ovperc.data.sources import source_of
from ovperc.text.class_names import load_class_names
from ovperc.text.vocabulary import ClassEntry, Vocabulary

if TYPE_CHECKING:
    from ovperc.data.segmentation import LabelledImages


@dataclass(frozen=True)
class Benchmark:
    """One test set with its protocol.

    Attributes:
        name: on the command line.
        title: what it asks, in words.
        factory: ``"module:callable"`` that makes the labelled images.
        options: its arguments; the command line may replace them.
        task: ``segmentation``, ``anomaly`` or ``detection``.
        background: policy; where enabled, label 0 of the images is background.
        ignore_index: label of pixels that do not count.
        absent: what a class counts as that occurs neither in truth nor in predictions: ``skip`` or ``zero``.
        class_list: names and words of the classes (``ovperc.text.class_names``); empty where the images name them.
        evaluator: ``"module:callable"`` in place of the task's own, for sets that methods of several tasks answer.
    """

    name: str
    title: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)
    task: str = "segmentation"
    background: Background = field(default_factory=Background)
    ignore_index: int = 255
    absent: str = "skip"
    class_list: str = ""
    evaluator: str = ""

    @property
    def needs_data(self) -> bool:
        """Whether its images are files that have to be downloaded."""
        return "root" in self.options

    def images(self, **options: Any) -> LabelledImages:
        """The labelled images, with options replaced.

        Raises:
            ValueError: an option that the test set does not have.
            ImportError: a package that it needs is not installed; the message says which.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ValueError(
                f"benchmark {self.name!r} has no option {unknown[0]!r}; {suggest(unknown[0], self.options)}"
            )
        module, _, name = self.factory.partition(":")
        return getattr(importlib.import_module(module), name)(**{**self.options, **options})

    def vocabulary(
        self, images: LabelledImages, method: str | None = None, threshold: float | None = None
    ) -> Vocabulary:
        """The words to segment with; label ``i`` of the bank is label ``i`` of the images.

        Args:
            images: the test set.
            method: whose published words and background threshold are taken, where it has any.
            threshold: replaces that threshold.

        Raises:
            ValueError: a threshold for a benchmark without background.
        """
        if self.class_list:
            names = load_class_names(self.class_list, family(method or ""))
            self._check_threshold(threshold, names.background)
            published = eval_settings(method or "", self.name).threshold
            return names.vocabulary(published if threshold is None else threshold)
        self._check_threshold(threshold, self.background.enabled)
        names = tuple(images.classes)[int(self.background.enabled) :]
        policy = self.background if threshold is None else replace(self.background, threshold=threshold)
        return Vocabulary(tuple(ClassEntry(name) for name in names), policy)

    def _check_threshold(self, threshold: float | None, background: bool) -> None:
        if threshold and not background:
            raise ValueError(
                f"benchmark {self.name!r} has no background, so nothing can fall below a threshold; got {threshold}"
            )


def _world(name: str, title: str, num_scenes: int = 200) -> Benchmark:
    options = {"name": name, "num_scenes": num_scenes, "size_px": 112, "seed": 0}
    return Benchmark(name, title, "ovperc.data.world.benchmark:build_benchmark", options)


def _files(name: str, reader: str, ignore_index: int = 255) -> Benchmark:
    """A benchmark whose images are downloaded; its class list and label map have its own name."""
    source = source_of(name)
    options = {
        "source": source.name,
        "reader": reader,
        "label_map": name,
        "class_list": name,
        "root": None,
        "partial": False,
    }
    return Benchmark(
        name,
        f"{source.title}, {source.layout.count} images",
        "ovperc.data.readers:open_benchmark",
        options,
        ignore_index=ignore_index,
        class_list=name,
    )


def _anomaly_files() -> tuple[Benchmark, ...]:
    """Anomaly sets that are downloaded, and one's own."""
    options = {
        "root": None,
        "partial": False,
        "categories": None,
        "words": None,
        "mask_above": 0,
        "hold_out": 0,
        "seed": 0,
    }
    return tuple(
        Benchmark(
            entry.name,
            entry.title,
            "ovperc.data.anomaly.sets:open_set",
            {"name": entry.name, **options},
            task="anomaly",
        )
        for entry in ANOMALY_SETS.values()
    )


_WORLD_ANOMALY = Benchmark(
    "world-anomaly",
    "where 10 products of the world are damaged; products and kinds of damage that training never shows",
    "ovperc.data.world.anomaly:WorldAnomaly",
    {"split": "test", "good": 16, "per_kind": 6, "normal": 16, "size_px": 112, "seed": 0, "categories": None},
    task="anomaly",
)

_WORLD_SCENES = {"split": "test", "num_scenes": 200, "size_px": 112, "seed": 0, "vocabulary": "pattern_colour"}
_REGIONS = "ovperc.evaluation.regions:evaluate_regions"
_FOLDER = {"root": None, "partial": False}


def _detection(name: str, title: str, factory: str, options: Mapping[str, Any], evaluator: str = "") -> Benchmark:
    return Benchmark(name, title, factory, options, task="detection", evaluator=evaluator)


_DETECTION: tuple[Benchmark, ...] = (
    _detection(
        "world-ovd",
        "boxes of pattern x colour objects, half of them with pairs held out of training",
        "ovperc.data.world.detection:WorldDetection",
        _WORLD_SCENES,
    ),
    _detection(
        "world-regions",
        "the same objects and their materials to be named, boxes and masks given",
        "ovperc.data.world.regions:WorldRegions",
        _WORLD_SCENES,
        _REGIONS,
    ),
    _detection(
        "ov_coco",
        "COCO val2017, boxes of 48 base and 17 novel classes",
        "ovperc.data.detection.sets:open_ov_coco",
        {**_FOLDER, "split": "val", "vocabulary": "65", "image_set": "all", "annotations": ""},
    ),
    _detection(
        "ov_lvis",
        "LVIS v1 val, masks of 866 base and 337 novel classes",
        "ovperc.data.detection.sets:open_ov_lvis",
        {**_FOLDER, "split": "val"},
    ),
    _detection("coco_transfer", "COCO val2017, 80 classes", "ovperc.data.detection.sets:open_coco", _FOLDER),
    _detection(
        "objects365_transfer", "Objects365 v1 val, 365 classes", "ovperc.data.detection.sets:open_objects365", _FOLDER
    ),
    _detection("voc07_transfer", "VOC 2007 test, 20 classes", "ovperc.data.detection.sets:open_voc", _FOLDER),
    _detection(
        "coco_regions",
        "COCO val2017 panoptic, 80 things and 53 stuffs to be named, boxes and masks given",
        "ovperc.data.detection.panoptic:open_coco_regions",
        _FOLDER,
        _REGIONS,
    ),
)


_TABLE: tuple[Benchmark, ...] = (
    _world("world-materials", "12 materials of the procedural world"),
    _world("world-base", "pattern x colour objects on materials, pairs seen in training"),
    _world("world-novel", "the same, half of the objects with pairs held out of training"),
    _world("world-shapes", "colour x shape objects on materials, the hard one"),
    _world("world-real", "mosaics of photographs of brick, grass and gravel", num_scenes=100),
    _WORLD_ANOMALY,
    *_DETECTION,
    _files("voc21", "PascalVOCDataset"),
    _files("voc20", "PascalVOC20Dataset"),
    _files("context60", "PascalContextDataset"),
    _files("context59", "PascalContextDataset59"),
    _files("coco_object", "COCOObjectDataset"),
    _files("coco_stuff171", "COCOStuffDataset"),
    _files("cityscapes", "CityscapesDataset"),
    _files("ade150", "ADE20KDataset"),
    _files("ade847", "ADE847Dataset", ignore_index=65535),
    _files("pc459", "PascalContext459Dataset", ignore_index=65535),
    *_anomaly_files(),
)
BENCHMARKS: Mapping[str, Benchmark] = {row.name: row for row in _TABLE}


def get_benchmark(name: str) -> Benchmark:
    """A row of the table; dashes and underscores are the same.

    Raises:
        ValueError: no benchmark of that name; near matches are offered.
    """
    known = {row.replace("_", "-"): row for row in BENCHMARKS}
    key = name.replace("_", "-")
    if key not in known:
        raise ValueError(f"unknown benchmark {name!r}; {suggest(name, BENCHMARKS)}")
    return BENCHMARKS[known[key]]
