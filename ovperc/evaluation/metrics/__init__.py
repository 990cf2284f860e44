"""Metrics; plain classes and their mmengine adapters."""

from ovperc.evaluation.metrics.boundary import BoundaryIoU
from ovperc.evaluation.metrics.label_map_metric import LabelMapMetric
from ovperc.evaluation.metrics.miou import ConfusionMatrix, StreamingIoU

SEGMENTATION_METRICS: tuple[type[LabelMapMetric], ...] = (ConfusionMatrix, BoundaryIoU)
"""What is counted of every label map; a new metric is one class in a file of its own, and its name here."""

__all__ = ["SEGMENTATION_METRICS", "ConfusionMatrix", "LabelMapMetric", "StreamingIoU"]
