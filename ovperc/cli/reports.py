"""``model_table`` and ``reproduce``: tables of finished runs. ``--help`` imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ovperc.cli.exits import UsageError, run_to_exit_code
from ovperc.cli.options import Parser

if TYPE_CHECKING:
    from ovperc.evaluation.reports.results import Result

DEFAULT_RESULTS = "work_dirs"


def model_table_main(argv: Sequence[str] | None = None) -> int:
    """Collects summaries into the model table."""
    return run_to_exit_code(lambda: _model_table(argv))


def reproduce_main(argv: Sequence[str] | None = None) -> int:
    """Prints published results, ours, the difference and known departures."""
    return run_to_exit_code(lambda: _reproduce(argv))


def _model_table(argv: Sequence[str] | None) -> None:
    parser = Parser(
        prog="model_table.py",
        description="Collect JSON summaries of ovperc test into a Markdown table.",
        epilog="example: python tools/model_table.py work_dirs --out docs/model_zoo.md",
    )
    parser.add_argument("results", nargs="*", default=[DEFAULT_RESULTS], metavar="PATH",
                        help=f"summaries, or folders of them (default: {DEFAULT_RESULTS})")  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help="output file (default: standard output)")
    parser.add_argument("--title", default="Model table", help="page heading (default: %(default)s)")
    arguments = parser.parse_args(argv)
    from ovperc.evaluation.reports.model_table import model_table
    from ovperc.evaluation.reports.results import read_results

    text = model_table(read_results(arguments.results), arguments.title)
    if arguments.out:
        _write(Path(arguments.out), text)
    else:
        print(text, end="")


def _write(path: Path, text: str) -> None:
    from ovperc.core.atomic import atomic_write

    with atomic_write(path) as (temporary,):
        temporary.write_text(text, encoding="utf-8")


def _reproduce(argv: Sequence[str] | None) -> None:
    parser = Parser(
        prog="reproduce.py",
        description="Compare our results with the published results of a method.",
        epilog="example: python tools/reproduce.py sclip/voc21 --results work_dirs",
    )
    parser.add_argument("pairs", nargs="+", metavar="METHOD/BENCHMARK", help="such as sclip/voc21")
    parser.add_argument("--results", nargs="*", default=[DEFAULT_RESULTS], metavar="PATH",
                        help=f"summaries of ovperc test, or folders (default: {DEFAULT_RESULTS})")  # fmt: skip
    arguments = parser.parse_args(argv)
    from ovperc.evaluation.reports.results import read_results

    results = read_results([place for place in arguments.results if Path(place).exists()])
    for pair in arguments.pairs:
        method, _, benchmark = pair.partition("/")
        if not benchmark:
            raise UsageError(f"expected METHOD/BENCHMARK such as sclip/voc21; got {pair!r}")
        _print_comparison(method, benchmark.replace("-", "_"), results)


def _print_comparison(method: str, benchmark: str, results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ovperc.evaluation.reports.published import compare, departures

    table = Table(
        "backbone", "paper", "ours", "difference", "source", "note", title=f"{method} on {benchmark}, mIoU (%)"
    )
    for column in table.columns[1:4]:
        column.justify = "right"
    missing = False
    for row in compare(method, benchmark, results):
        value = row.ours.metrics["mIoU"] if row.ours else None
        missing |= value is None
        cells = [
            "-" if number is None else f"{number:{sign}.2f}" for number, sign in ((value, ""), (row.difference, "+"))
        ]
        table.add_row(row.figure.backbone, f"{row.figure.value:g}", *cells, row.figure.source, row.figure.note)
    console = Console()
    console.print(table)
    for line in departures(method, benchmark):
        console.print(f"known departure: {line}", markup=False, highlight=False)
    if missing:
        command = f"ovperc test {method} --benchmark {benchmark} --weights WEIGHTS --data-root DIR"
        console.print(f"to produce missing results: {command}", markup=False, highlight=False)
