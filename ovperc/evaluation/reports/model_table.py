"""The model table: results as Markdown, with the commands to reproduce them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ovperc.evaluation.reports.results import Result
from ovperc.evaluation.reports.titles import HEADLINES, TABLE_TITLES


def model_table(results: Sequence[Result], title: str = "Model table") -> str:
    """Markdown: an overview by each task's main metric, one table per benchmark, and the command of each row.

    Partial runs are marked with their number of images and excluded from the overview.
    """
    if not results:
        raise ValueError("no results: run ovperc test METHOD --benchmark NAME first, and pass its work dir")
    complete = [result for result in results if result.complete]
    sections = [f"# {title}", *(_overview(name, complete) for name in HEADLINES)]
    for benchmark in sorted({result.benchmark for result in results}):
        sections.append(_benchmark(benchmark, [result for result in results if result.benchmark == benchmark]))
    sections += [_environments(results), _commands(results)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _overview(headline: str, results: Sequence[Result]) -> str:
    results = [result for result in results if headline in result.metrics]
    if not results:
        return ""
    benchmarks = sorted({result.benchmark for result in results})
    keys = sorted({(_method(result), result.weights) for result in results})
    found = {(_method(result), result.weights, result.benchmark): result for result in results}
    rows = []
    for method, weights in keys:
        cells = [found.get((method, weights, benchmark)) for benchmark in benchmarks]
        values = [_number(cell.metrics.get(headline)) if cell else "" for cell in cells]
        rows.append([method, _name(weights), *values])
    return f"{TABLE_TITLES[headline]} (%)\n\n" + markdown_table(["method", "weights", *benchmarks], rows)


def _benchmark(benchmark: str, results: Sequence[Result]) -> str:
    columns = [name for name in TABLE_TITLES if any(result.metrics.get(name) is not None for result in results)]
    rows = []
    for result in sorted(results, key=lambda result: -_headline(result)):
        images = str(result.images) if result.complete else f"first {result.images}"
        values = [_number(result.metrics.get(name)) for name in columns]
        commit = result.commit[:9] + ("+" if result.commit.endswith("+") else "")
        rows.append([_method(result), _name(result.weights), *values, images, commit, result.config[:9], result.device])
    titles = [TABLE_TITLES[name] for name in columns]
    head = ["method", "weights", *titles, "images", "commit", "config", "device"]
    return f"## {benchmark}\n\n" + markdown_table(head, rows)


def _method(result: Result) -> str:
    return f"{result.method}, {result.variant}" if result.variant else result.method


def _headline(result: Result) -> float:
    return next((value for value in map(result.metrics.get, HEADLINES) if value is not None), 0.0)


def _environments(results: Sequence[Result]) -> str:
    lines = {", ".join(f"{name} {version}" for name, version in result.versions.items()) for result in results}
    return "## Environment\n\n" + "\n".join(f"- {line}" for line in sorted(lines) if line)


def _commands(results: Sequence[Result]) -> str:
    rows = [f"- {_method(result)}, {result.benchmark}: `{result.command}`" for result in results if result.command]
    return "## Commands\n\n" + "\n".join(rows) if rows else ""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with padded columns."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _name(weights: str) -> str:
    """The file name of a path, without machine-specific folders."""
    return weights.replace("\\", "/").rstrip("/").rpartition("/")[2] or weights


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.1f}"
