"""The table of benchmarks: what is asked, on which images, and how it is scored."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ovperc.registry import suggest
from ovperc.structures import Background
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
        task: ``segmentation``.
        background: policy; where enabled, label 0 of the images is background.
        ignore_index: label of pixels that do not count.
        absent: what a class counts as that occurs neither in truth nor in predictions: ``skip`` or ``zero``.
    """

    name: str
    title: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)
    task: str = "segmentation"
    background: Background = field(default_factory=Background)
    ignore_index: int = 255
    absent: str = "skip"

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

    def vocabulary(self, images: LabelledImages) -> Vocabulary:
        """The words to segment with; label ``i`` of the bank is label ``i`` of the images."""
        names = tuple(images.classes)[int(self.background.enabled) :]
        return Vocabulary(tuple(ClassEntry(name) for name in names), self.background)


def _world(name: str, title: str, num_scenes: int = 200) -> Benchmark:
    options = {"name": name, "num_scenes": num_scenes, "size_px": 112, "seed": 0}
    return Benchmark(name, title, "ovperc.data.world.benchmark:build_benchmark", options)


_TABLE: tuple[Benchmark, ...] = (
    _world("world-materials", "12 materials of the procedural world"),
    _world("world-base", "pattern x colour objects on materials, pairs seen in training"),
    _world("world-novel", "the same, half of the objects with pairs held out of training"),
    _world("world-shapes", "colour x shape objects on materials, the hard one"),
    _world("world-real", "mosaics of photographs of brick, grass and gravel", num_scenes=100),
)
BENCHMARKS: Mapping[str, Benchmark] = {row.name: row for row in _TABLE}


def get_benchmark(name: str) -> Benchmark:
    """A row of the table.

    Raises:
        ValueError: no benchmark of that name; near matches are offered.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}; {suggest(name, BENCHMARKS)}")
    return BENCHMARKS[name]
