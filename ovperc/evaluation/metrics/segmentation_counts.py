"""Accumulated metrics of the label maps of a test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ovperc.evaluation.metrics.label_map_metric import LabelMapMetric
from ovperc.evaluation.metrics.miou import ConfusionMatrix
from ovperc.evaluation.metrics.presence import PresenceMeter


@dataclass(frozen=True)
class SegmentationCounts:
    """Metrics accumulated over images.

    Attributes:
        metrics: one instance of each of ``SEGMENTATION_METRICS``.
        presence: metrics with absent classes; empty if not requested.
        worst: mIoU in percent and index of the images with the lowest mIoU, ascending.
    """

    metrics: tuple[LabelMapMetric, ...]
    presence: PresenceMeter
    worst: tuple[tuple[float, int], ...] = ()

    @property
    def matrix(self) -> ConfusionMatrix:
        """The confusions."""
        return next(metric for metric in self.metrics if isinstance(metric, ConfusionMatrix))

    def figures(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """Metrics by name, in percent."""
        found = {name: value for metric in self.metrics for name, value in metric.figures(groups).items()}
        return found | (self.presence.scores() if self.presence.area[1] > 0 else {})

    def by_class(self, names: Sequence[str]) -> dict[str, float]:
        """``FIGURE.CLASS`` in percent."""
        return {
            f"{figure}.{name}": 100.0 * float(value)
            for metric in self.metrics
            for figure, values in metric.by_class().items()
            for name, value in zip(names, values, strict=True)
        }
