"""The ``test`` verb: a method and a benchmark in, a table of scores and a summary out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ovperc.cli_common import add_model_arguments, model_options
from ovperc.cli_run import add_run_arguments, run_to_status

if TYPE_CHECKING:
    from ovperc.engine.summary import RunSummary

EXAMPLE = """examples:
  python tools/test.py sclip --benchmark world-base
  python tools/test.py naclip --benchmark world-novel --limit 50 --json naclip.json
  python tools/test.py clearclip --benchmark world-base --cfg-options readout.residual=True data.seed=1
  python tools/test.py --list
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the verb."""
    parser = argparse.ArgumentParser(
        prog="test",
        description="Score a training-free method on a benchmark.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "method", nargs="?", default=argparse.SUPPRESS, metavar="METHOD", help="a method's name, or its config file"
    )
    parser.add_argument("--benchmark", metavar="NAME", default="world-base", help="test set (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="show the benchmarks")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--num-workers", type=int, default=0, metavar="N", help="processes that make or read images")
    add_model_arguments(parser)
    add_run_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb and returns the exit status."""
    arguments = build_parser().parse_args(argv)
    if arguments.list:
        return run_to_status(print_benchmarks)

    def work() -> None:
        from ovperc.engine.evaluate import evaluate

        options = model_options(arguments)
        summary = evaluate(
            options.pop("name"),
            arguments.benchmark,
            **options,
            overrides=arguments.cfg_options,
            limit=arguments.limit,
            num_workers=arguments.num_workers,
            launcher=arguments.launcher,
            work_dir=arguments.work_dir,
            summary_file=arguments.json,
        )
        print_scores(summary)

    return run_to_status(work)


def print_benchmarks() -> None:
    """Lists the benchmarks."""
    from rich.console import Console
    from rich.table import Table

    from ovperc.data.benchmarks import BENCHMARKS

    table = Table("benchmark", "what it asks", box=None)
    for row in BENCHMARKS.values():
        table.add_row(row.name, row.title)
    Console().print(table)


def print_scores(summary: RunSummary) -> None:
    """Prints the scores of a run as a table."""
    from mmengine.dist import is_main_process
    from rich.console import Console
    from rich.table import Table

    if not is_main_process():
        return
    settings = summary.settings
    title = f"{settings['method']} on {settings['benchmark']}, {settings['images']} images, {summary.seconds:.1f} s"
    table = Table("score", box=None)
    table.add_column("%", justify="right")
    for name, value in summary.metrics.items():
        table.add_row(name, f"{value:.2f}")
    console = Console()
    console.print(f"{title}\nweights: {settings['weights']}", markup=False, highlight=False, soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
