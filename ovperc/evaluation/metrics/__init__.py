"""Metrics, and their mmengine adapters."""

from collections.abc import Mapping

from ovperc.evaluation.metrics.boundary import BoundaryIoU
from ovperc.evaluation.metrics.label_map_metric import LabelMapMetric
from ovperc.evaluation.metrics.miou import ConfusionMatrix, StreamingIoU
from ovperc.evaluation.metrics.presence import PresenceMeter

SEGMENTATION_METRICS: tuple[type[LabelMapMetric], ...] = (ConfusionMatrix, BoundaryIoU)
"""Metrics of segmentation; a new one is a class in its own module, listed here."""
SEGMENTATION_TITLES: Mapping[str, str] = {
    name: title for metric in (*SEGMENTATION_METRICS, PresenceMeter) for name, title in metric.titles.items()
}
"""Figures of segmentation with a column in tables, in their order."""

__all__ = ["SEGMENTATION_METRICS", "SEGMENTATION_TITLES", "ConfusionMatrix", "LabelMapMetric", "StreamingIoU"]
