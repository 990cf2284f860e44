"""The ``test`` verb: evaluates a method on a benchmark."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ovperc.cli.options import add_method_argument, add_model_options, add_run_options, model_settings

if TYPE_CHECKING:
    from ovperc.core.summary import RunSummary

DESCRIPTION = "Evaluate a method on a benchmark."
EXAMPLES = """examples:
  ovperc test sclip --benchmark world-base
  ovperc test naclip --benchmark world-novel --limit 50 --json naclip.json
  ovperc test clearclip --benchmark world-base --set readout.residual=True data.seed=1
  ovperc test sclip --benchmark voc21 --data-root data --weights ViT-B-16.pt --presence 5 --panels 20
  ovperc test sclip --benchmark ade150 --data-root data --shard 1/4
  ovperc test patch_memory --benchmark world-anomaly --set shots=4
  ovperc test anomalyclip --benchmark mvtec --data-root data --set eval.size_px=518
  ovperc test --list

An interrupted run continues when the same command is given again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_method_argument(parser)
    parser.add_argument("--benchmark", metavar="NAME", default="world-base", help="benchmark (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data-root", metavar="DIR", help="folder of the data set, or of all data sets (default: $OVPERC_DATA)"
    )
    data.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    data.add_argument("--shard", metavar="i/n", help="evaluate every n-th image; the last shard merges the results")
    data.add_argument("--allow-partial", action="store_true", help="evaluate an incomplete copy of the data set")
    data.add_argument(
        "--num-workers", type=int, metavar="N", help="data loading processes (default: 2 for files, else 0)"
    )
    results = parser.add_argument_group("results")
    results.add_argument(
        "--presence", type=int, default=0, metavar="K", help="also evaluate presence, with K absent classes per image"
    )
    results.add_argument("--threshold", type=float, metavar="P", help="overrides the benchmark's background threshold")
    results.add_argument(
        "--save-predictions",
        nargs="?",
        const=True,
        default=False,
        metavar="DIR",
        help="save label maps as PNG (default: predictions in the work dir)",
    )
    results.add_argument(
        "--panels", type=int, default=0, metavar="N", help="write report.html with panels of the N worst images"
    )
    add_model_options(parser, published=False)
    add_run_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluates the method and prints the scores."""
    if arguments.list:
        print_benchmarks()
        return
    from ovperc.data.benchmarks import get_benchmark
    from ovperc.evaluation.request import EvalOptions, Shard
    from ovperc.evaluation.run import evaluate

    model = model_settings(arguments)
    workers = arguments.num_workers
    if workers is None:
        workers = 2 if get_benchmark(arguments.benchmark).needs_data else 0
    summary = evaluate(
        model.pop("name"),
        arguments.benchmark,
        **model,
        overrides=arguments.overrides,
        data_root=arguments.data_root,
        allow_partial=arguments.allow_partial,
        threshold=arguments.threshold,
        limit=arguments.limit,
        panels=arguments.panels,
        save_predictions=arguments.save_predictions,
        options=EvalOptions(
            num_workers=workers,
            launcher=arguments.launcher,
            shard=Shard.parse(arguments.shard),
            presence=arguments.presence,
        ),
        work_dir=arguments.work_dir,
        summary_file=arguments.json,
    )
    print_scores(summary)


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

    from ovperc.evaluation.reports.titles import TITLES

    if not is_main_process():
        return
    settings = summary.settings
    title = f"{settings['method']} on {settings['benchmark']}, {settings['images']} images, {summary.seconds:.1f} s"
    table = Table("score", box=None)
    table.add_column("%", justify="right")
    for name, value in summary.metrics.items():
        table.add_row(TITLES.get(name, name), f"{value:.2f}")
    console = Console()
    console.print(f"{title}\nweights: {settings['weights']}", markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    if not settings["complete"]:
        part = f"{settings['images']} of {settings['images_in_set']} images"
        console.print(f"partial: {part}; not comparable with published results", markup=False, highlight=False)
