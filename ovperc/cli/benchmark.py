"""The ``benchmark`` verb: speed and memory cases of the checkout's ``benchmarks/``, timed side by side."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.cli.exits import ExitCode, UsageError
from ovperc.core.naming import suggest

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.case import Case, Measurement, Options

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = "Measure run time and peak memory relative to straightforward implementations."
EXAMPLES = """examples:
  ovperc benchmark --list
  ovperc benchmark tower-ratio second-vocabulary --runs 7 --csv docs/benchmarks/cpu.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument("cases", nargs="*", metavar="CASE", help="benchmark cases (default: all)")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="default: %(default)s")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="timed pairs (default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="torch threads (default: torch's own)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the results to this CSV file")


def run(arguments: argparse.Namespace) -> int:
    """Runs the cases; returns 1 if a result misses its limit."""
    cases = find_cases()
    if arguments.list:
        for case in cases.values():
            print(f"{case.name:22} {case.summary}")
        return ExitCode.DONE
    for name in arguments.cases:
        if name not in cases:
            raise UsageError(f"unknown case {name!r}; {suggest(name, cases)}")
    chosen = [cases[name] for name in arguments.cases] or list(cases.values())
    rows = measure(chosen, arguments)
    if arguments.csv:
        write_csv(rows, arguments.csv)
        print(f"wrote {arguments.csv}")
    return ExitCode.SOME_FAILED if any(row.held is False for row in rows) else ExitCode.DONE


def find_cases(root: Path = ROOT) -> Mapping[str, Case]:
    """Cases by name.

    Args:
        root: root of the checkout.

    Raises:
        UsageError: ovperc is not running from a checkout.
    """
    if not (root / "benchmarks" / "__init__.py").is_file():
        raise UsageError(
            f"benchmarks need a source checkout, and {root} has no benchmarks folder; clone the repository and run "
            "'pip install -e .' in it"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    from benchmarks import all_cases

    return all_cases()


def measure(cases: Sequence[Case], arguments: argparse.Namespace) -> list[Measurement]:
    """Runs the cases and prints each result as it arrives."""
    import torch
    from rich.console import Console

    from benchmarks.case import Options

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    options = Options(arguments.device, arguments.dtype, arguments.runs, arguments.threads)
    console = Console()
    threads = torch.get_num_threads()
    console.print(f"torch {torch.__version__}, {threads} threads, {arguments.device}, {arguments.dtype}")
    return [row for case in cases for row in _run_case(case, options, console)]


def _run_case(case: Case, options: Options, console: Console) -> list[Measurement]:
    rows = []
    console.rule(case.name)
    for row in case.run(options):
        rows.append(row)
        bound = "" if row.limit is None else f"   ({'<=' if row.at_most else '>='} {row.limit:g})"
        mark = {None: " ", True: "[green]held[/]", False: "[red]missed[/]"}[row.held]
        console.print(f"{row.setting}: [bold]{row.value:.3f} {row.unit}[/]{bound} {mark}  [dim]{row.detail}[/]")
    return rows


def write_csv(rows: Sequence[Any], path: Path) -> None:
    """Writes the results as CSV, one row each."""
    from ovperc.core.atomic import atomic_write

    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(rows[0])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    with atomic_write(path) as (partial,):
        partial.write_text(buffer.getvalue(), encoding="utf-8")
