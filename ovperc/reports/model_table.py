"""The model table: results as Markdown, with all that is needed to make each row again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ovperc.reports.results import Result

_COLUMNS = ("mIoU", "mIoU.base", "mIoU.novel", "mAcc", "aAcc", "fwIoU", "bIoU", "false_area", "presence_AUROC")
_TITLES = {"false_area": "false area", "presence_AUROC": "presence AUROC", "bIoU": "boundary mIoU"}


def model_table(results: Sequence[Result]) -> str:
    """Markdown: an overview of mIoU, one table per benchmark, and the command of each row.

    Partial runs are marked with their number of images and are left out of the overview.
    """
    if not results:
        raise ValueError("no results: run tools/test.py METHOD --benchmark NAME first, and pass its work dir")
    sections = ["# Model table", _overview([result for result in results if result.complete])]
    for benchmark in sorted({result.benchmark for result in results}):
        sections.append(_benchmark(benchmark, [result for result in results if result.benchmark == benchmark]))
    sections += [_environments(results), _commands(results)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _overview(results: Sequence[Result]) -> str:
    if not results:
        return ""
    benchmarks = sorted({result.benchmark for result in results})
    keys = sorted({(result.method, result.weights) for result in results})
    found = {(result.method, result.weights, result.benchmark): result for result in results}
    rows = []
    for method, weights in keys:
        cells = [found.get((method, weights, benchmark)) for benchmark in benchmarks]
        values = [_number(cell.metrics.get("mIoU")) if cell else "" for cell in cells]
        rows.append([method, _name(weights), *values])
    return "mIoU (%)\n\n" + _markdown(["method", "weights", *benchmarks], rows)


def _benchmark(benchmark: str, results: Sequence[Result]) -> str:
    columns = [name for name in _COLUMNS if any(result.metrics.get(name) is not None for result in results)]
    rows = []
    for result in sorted(results, key=lambda result: -(result.metrics.get("mIoU") or 0)):
        images = str(result.images) if result.complete else f"first {result.images}"
        values = [_number(result.metrics.get(name)) for name in columns]
        commit = result.commit[:9] + ("+" if result.commit.endswith("+") else "")
        rows.append([result.method, _name(result.weights), *values, images, commit, result.config[:9], result.device])
    titles = [_TITLES.get(name, name) for name in columns]
    head = ["method", "weights", *titles, "images", "commit", "config", "device"]
    return f"## {benchmark}\n\n" + _markdown(head, rows)


def _environments(results: Sequence[Result]) -> str:
    lines = {", ".join(f"{name} {version}" for name, version in result.versions.items()) for result in results}
    return "## Environment\n\n" + "\n".join(f"- {line}" for line in sorted(lines) if line)


def _commands(results: Sequence[Result]) -> str:
    rows = [f"- {result.method}, {result.benchmark}: `{result.command}`" for result in results if result.command]
    return "## Commands\n\n" + "\n".join(rows) if rows else ""


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _name(weights: str) -> str:
    """The file name of a path; machine paths have no place in a table."""
    return weights.replace("\\", "/").rstrip("/").rpartition("/")[2] or weights


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.1f}"
