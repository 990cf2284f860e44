"""Side-by-side measurements: ratios of two callables timed in turn in one run, and peak memory."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.case import Case

_SUITES = ("foundation", "export", "evaluation", "anomaly", "anomaly_metrics", "refinement", "detection", "alignment")


def all_cases() -> dict[str, Case]:
    """Every case by name; importing them needs torch."""
    suites = (import_module(f"benchmarks.{suite}") for suite in _SUITES)
    return {case.name: case for suite in suites for case in suite.CASES}
