"""Segmentation benchmarks: classes, label map and published settings per method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ovperc.core.structures import Background
from ovperc.data.benchmark import Benchmark
from ovperc.data.segmentation.dataset import LabelledImages
from ovperc.data.segmentation.eval_settings import EvalSettings, family
from ovperc.text.class_names import load_class_names
from ovperc.text.vocabulary import ClassEntry, Vocabulary


@dataclass(frozen=True)
class SegmentationBenchmark(Benchmark):
    """A segmentation benchmark.

    Attributes:
        background: background policy; if enabled, label 0 of the images is background.
        ignore_index: label of ignored pixels.
        absent: how to count classes that occur neither in ground truth nor predictions: ``skip`` or ``zero``.
        class_list: names and words of the classes (``ovperc.text.class_names``); empty if the images define them.
        label_map: mapping of raw annotation values to labels; empty for generated images.
        settings: method -> its published settings.
    """

    background: Background = field(default_factory=Background)
    ignore_index: int = 255
    absent: str = "skip"
    class_list: str = ""
    label_map: str = ""
    settings: Mapping[str, EvalSettings] = field(default_factory=dict)

    def settings_of(self, method: str) -> EvalSettings:
        """Published settings of a method: those of its family, overridden by its own."""
        shared = self.settings.get(family(method), EvalSettings())
        return shared if family(method) == method else shared.updated(self.settings.get(method, EvalSettings()))

    def vocabulary(self, images: LabelledImages, method: str = "", threshold: float | None = None) -> Vocabulary:
        """The vocabulary; label ``i`` of the text bank is label ``i`` of the images.

        Args:
            images: the test set.
            method: method whose published prompts and background threshold are used, if any.
            threshold: overrides that threshold.

        Raises:
            ValueError: a threshold is given for a benchmark without background.
        """
        if self.class_list:
            names = load_class_names(self.class_list, family(method))
            self._check_threshold(threshold, names.background)
            published = self.settings_of(method).threshold or 0.0
            return names.vocabulary(published if threshold is None else threshold)
        self._check_threshold(threshold, self.background.enabled)
        names = tuple(images.classes)[int(self.background.enabled) :]
        policy = self.background if threshold is None else replace(self.background, threshold=threshold)
        return Vocabulary(tuple(ClassEntry(name) for name in names), policy)

    def _check_threshold(self, threshold: float | None, background: bool) -> None:
        if threshold and not background:
            raise ValueError(f"benchmark {self.name!r} has no background, so it takes no threshold; got {threshold}")
