"""Published results, compared with ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from ovperc.core.naming import suggest
from ovperc.evaluation.reports.results import Result


@dataclass(frozen=True)
class PublishedFigure:
    """A published result.

    Attributes:
        method, backbone, benchmark: what was evaluated.
        value: mIoU in percent.
        source: citation.
        note: deviations from the method's defaults.
    """

    method: str
    backbone: str
    benchmark: str
    value: float
    source: str
    note: str


@dataclass(frozen=True)
class Comparison:
    """A published result and ours.

    Attributes:
        figure: published result.
        ours: our result with the same method, backbone and benchmark, if any.
    """

    figure: PublishedFigure
    ours: Result | None

    @property
    def difference(self) -> float | None:
        """Ours minus published, in points; ``None`` without our result."""
        value = self.ours.metrics.get("mIoU") if self.ours else None
        return None if value is None else value - self.figure.value


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    path = resources.files("ovperc") / "assets" / "published" / "segmentation.json"
    return json.loads(path.read_text(encoding="utf-8"))


def published_figures() -> tuple[PublishedFigure, ...]:
    """All bundled published results."""
    content = _content()
    return tuple(
        PublishedFigure(
            row["method"], row["backbone"], benchmark, value, content["sources"][row["source"]], row["note"]
        )
        for row in content["figures"]
        for benchmark, value in row["values"].items()
    )


def find_figures(method: str, benchmark: str) -> tuple[PublishedFigure, ...]:
    """Published results of a method on a benchmark.

    Raises:
        ValueError: there is no published result of the method, or on the benchmark.
    """
    figures = published_figures()
    methods = sorted({figure.method for figure in figures})
    if method not in methods:
        raise ValueError(f"no published results for method {method!r}; {suggest(method, methods)}")
    ours = [figure for figure in figures if figure.method == method]
    benchmarks = sorted({figure.benchmark for figure in ours})
    if benchmark not in benchmarks:
        raise ValueError(f"no published results for {method!r} on {benchmark!r}; {suggest(benchmark, benchmarks)}")
    return tuple(figure for figure in ours if figure.benchmark == benchmark)


def departures(method: str, benchmark: str) -> tuple[str, ...]:
    """Known departures from the published code."""
    known = _content()["departures"]
    return tuple(
        line for name in ("*", method) for key in ("*", benchmark) for line in known.get(name, {}).get(key, ())
    )


def compare(method: str, benchmark: str, results: Sequence[Result]) -> tuple[Comparison, ...]:
    """Compares published results of a method on a benchmark with ours, ignoring partial runs."""
    ours = {
        result.backbone: result
        for result in results
        if result.method == method and result.benchmark == benchmark and result.complete
    }
    return tuple(Comparison(figure, ours.get(figure.backbone)) for figure in find_figures(method, benchmark))
