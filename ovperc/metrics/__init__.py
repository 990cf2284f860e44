"""Metrics; plain classes and their mmengine adapters."""

from ovperc.metrics.miou import ConfusionMatrix, StreamingIoU

__all__ = ["ConfusionMatrix", "StreamingIoU"]
