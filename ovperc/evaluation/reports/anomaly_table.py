"""Anomaly metrics as Markdown: one row per category, and the mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ovperc.evaluation.metrics.anomaly_report import CategoryScores, mean_scores

COLUMNS: Mapping[str, str] = {
    "image_AUROC": "image AUROC",
    "image_AP": "image AP",
    "image_AUPR": "image AUPR",
    "image_F1max": "image F1-max",
    "pixel_AUROC": "pixel AUROC",
    "pixel_AP": "pixel AP",
    "pixel_F1max": "pixel F1-max",
    "AUPRO@0.3": "AUPRO@0.3",
    "AUPRO@0.05": "AUPRO@0.05",
    "AUPRO_legacy200": "PRO, 200 steps",
}


def category_table(settings: Mapping[str, Any], scores: Mapping[str, CategoryScores]) -> str:
    """Renders a report: settings, table, and reasons for undefined metrics."""
    rows = [(name, entry.figures) for name, entry in scores.items()]
    columns = [name for name in COLUMNS if any(name in figures for _, figures in rows)]
    mean = mean_scores(scores.values())
    lines = [
        f"# {settings['method']} on {settings['benchmark']}",
        "",
        f"Weights {settings['weights']}, {settings['images']} of {settings['images_in_set']} images, "
        f"{_size(settings['protocol'])}, {_shots(settings['protocol'])}. Percent; "
        "the mean is over the categories in which a metric is defined.",
        "",
        markdown_row("category", [COLUMNS[name] for name in columns]),
        "|" + " --- |" + " ---: |" * len(columns),
        *(markdown_row(name, [percent(figures.get(column)) for column in columns]) for name, figures in rows),
        markdown_row("**mean**", [percent(mean.get(column)) for column in columns]),
    ]
    notes = [f"- {name}: {note}" for name, entry in scores.items() for note in entry.notes]
    return "\n".join([*lines, *(["", "Notes:", "", *notes] if notes else []), ""])


def markdown_row(head: str, cells: list[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join([head, *cells]) + " |"


def percent(value: float | None) -> str:
    """One decimal, or a dash if undefined."""
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"


def _size(protocol: Mapping[str, Any]) -> str:
    side = protocol["size_px"]
    return "pixel metrics at each image's own size" if side is None else f"pixel metrics at {side} x {side}"


def _shots(protocol: Mapping[str, Any]) -> str:
    shots = protocol["shots"]
    return f"{shots} normal images per category (seed {protocol['shot_seed']})" if shots else "no normal images"
