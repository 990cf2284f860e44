"""Detection and region metrics as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovperc.core.atomic import atomic_write
from ovperc.core.summary import RunSummary


def write_detection_page(work_dir: Path, summary: RunSummary) -> None:
    """Writes ``report.md`` with the settings and metrics of a run."""
    page = detection_page(summary.settings, summary.metrics, summary.details["per_class"])
    with atomic_write(work_dir / "report.md") as (temporary,):
        temporary.write_text(page, encoding="utf-8")


def detection_page(
    settings: Mapping[str, Any], metrics: Mapping[str, float], per_class: Mapping[str, Mapping[str, float]]
) -> str:
    """Renders a report.

    Args:
        settings: settings of the summary; ``protocol`` contains the tags.
        metrics: name -> percent.
        per_class: metric -> class name -> percent.
    """
    lines = [
        f"# {settings['method']} on {settings['benchmark']}",
        "",
        f"Weights {settings['weights']}, {settings['images']} of {settings['images_in_set']} images.",
        "",
        *(f"- {name}: {value}" for name, value in settings["protocol"].items()),
        "",
        "| metric | % |",
        "| --- | ---: |",
        *(f"| {name} | {_percent(value)} |" for name, value in metrics.items()),
        "",
    ]
    if per_class:
        figures = list(per_class)
        names = list(dict.fromkeys(name for figure in figures for name in per_class[figure]))
        lines += [f"| class | {' | '.join(figures)} |", "| --- |" + " ---: |" * len(figures)]
        for name in names:
            cells = " | ".join(_percent(per_class[figure].get(name, math.nan)) for figure in figures)
            lines.append(f"| {name} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def _percent(value: float) -> str:
    """Two decimals, or a dash if undefined."""
    return "-" if math.isnan(value) else f"{value:.2f}"
