"""Which published weights load unchanged: ``python tools/weights_table.py --out docs/weights.md``.

Runs the tests that are marked ``layout(NAME)``, each of which writes weights with the library's own class and compares
the features, and counts which rows of the catalogue are found in caches. The table is between two marks of the page.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from ovperc.weights.catalogue import CATALOGUE
from ovperc.weights.layouts import LAYOUTS, Layout

ROOT = Path(__file__).parents[1]
START, END = "<!-- table by tools/weights_table.py -->", "<!-- end of table -->"


class LayoutResults:
    """Collects the outcome of every test that names a layout."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[bool]] = defaultdict(list)
        self._layouts: dict[str, list[str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keeps the tests with the mark."""
        for item in items:
            self._layouts[item.nodeid] = [mark.args[0] for mark in item.iter_markers("layout")]
        items[:] = [item for item in items if self._layouts[item.nodeid]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes the result of a test, or of a setup that failed."""
        if report.when == "call" or report.failed:
            for name in self._layouts[report.nodeid]:
                self.outcomes[name].append(report.passed)


def row(layout: Layout, outcomes: list[bool]) -> str:
    """One line of the table."""
    if layout.convert is None:
        verdict = ["no", layout.advice]
    elif not outcomes:
        verdict = ["untested", ""]
    else:
        verdict = ["yes" if all(outcomes) else "NO", f"{sum(outcomes)} of {len(outcomes)} tests"]
    return f"| {layout.name} | {layout.published} | {' | '.join(verdict)} |"


def catalogue_rows() -> list[str]:
    """The catalogue as a table: name, size, licence, paper, source."""
    lines = ["| name | MB | licence | paper | source |", "|---|---|---|---|---|"]
    for entry in CATALOGUE:
        paper = f"[{entry.paper}](https://arxiv.org/abs/{entry.paper})" if entry.paper else ""
        lines.append(f"| `{entry.name}` | {entry.size_mb} | {entry.licence} | {paper} | {entry.source} |")
    return lines


def main() -> int:
    """Runs the tests and writes, or prints, the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="page whose table is replaced; left out, it is printed")
    arguments = parser.parse_args()
    results = LayoutResults()
    status = pytest.main([str(ROOT / "tests" / "weights"), str(ROOT / "tests" / "backbones"), "-q"], plugins=[results])
    lines = ["| layout | published so | loads, equal to the library | proof or advice |", "|---|---|---|---|"]
    lines += [row(layout, results.outcomes[layout.name]) for layout in LAYOUTS]
    text = "\n".join([*lines, "", *catalogue_rows()])
    if arguments.out is None:
        print(text)
    else:
        page = arguments.out.read_text(encoding="utf-8")
        before, after = page.split(START)[0], page.split(END)[1]
        arguments.out.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
