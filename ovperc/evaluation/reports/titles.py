"""Titles of figures in tables and on the terminal, gathered from the metrics that give them."""

from __future__ import annotations

from collections.abc import Mapping

from ovperc.evaluation.metrics import SEGMENTATION_METRICS
from ovperc.evaluation.metrics.miou import CONVENTION_TITLES
from ovperc.evaluation.metrics.panoptic import PanopticQuality
from ovperc.evaluation.metrics.presence import PresenceMeter
from ovperc.evaluation.reports.anomaly_table import COLUMNS

SEGMENTATION_TITLES: Mapping[str, str] = {
    name: title for metric in (*SEGMENTATION_METRICS, PresenceMeter) for name, title in metric.titles.items()
}
TABLE_TITLES: Mapping[str, str] = {**SEGMENTATION_TITLES, **PanopticQuality.titles, **COLUMNS}
"""Figures with a column in the model table, in their order."""
TITLES: Mapping[str, str] = {**CONVENTION_TITLES, **TABLE_TITLES}
