"""What can be evaluated: an adapter for each task, and for protocols that are scored apart; a new one is a row here."""

from __future__ import annotations

from collections.abc import Mapping

from ovperc.evaluation.anomaly import AnomalyEvaluation
from ovperc.evaluation.detection import DetectionEvaluation
from ovperc.evaluation.panoptic import PanopticEvaluation
from ovperc.evaluation.regions import RegionEvaluation
from ovperc.evaluation.segmentation import SegmentationEvaluation
from ovperc.evaluation.task_evaluation import TaskEvaluation

EVALUATIONS: Mapping[str, type[TaskEvaluation]] = {
    "segmentation": SegmentationEvaluation,
    "detection": DetectionEvaluation,
    "regions": RegionEvaluation,
    "panoptic": PanopticEvaluation,
    "anomaly": AnomalyEvaluation,
}
"""Task or evaluation of a benchmark -> adapter."""
