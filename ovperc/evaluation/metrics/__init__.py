"""Metrics; plain classes and their mmengine adapters."""

from ovperc.evaluation.metrics.miou import ConfusionMatrix, StreamingIoU

__all__ = ["ConfusionMatrix", "StreamingIoU"]
