"""Titles of figures in tables and on the terminal, gathered from the adapters that give them."""

from __future__ import annotations

from collections.abc import Mapping

from ovperc.evaluation.metrics.miou import CONVENTION_TITLES
from ovperc.evaluation.table import EVALUATIONS

TABLE_TITLES: Mapping[str, str] = {
    name: title for evaluation in EVALUATIONS.values() for name, title in evaluation.titles.items()
}
"""Metrics with a column in the model table, in order."""
TITLES: Mapping[str, str] = {**CONVENTION_TITLES, **TABLE_TITLES}
HEADLINES: tuple[str, ...] = tuple(entry.headline for entry in EVALUATIONS.values() if entry.headline)
"""Main metrics, by which methods are sorted and compared across benchmarks."""
