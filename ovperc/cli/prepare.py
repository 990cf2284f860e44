"""The ``prepare`` verb: checks, converts and verifies a downloaded benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ovperc.cli.exits import ExitCode, UsageError, complain
from ovperc.cli.options import add_quiet_option

if TYPE_CHECKING:
    from ovperc.data.anomaly.files import AnomalyFiles
    from ovperc.data.benchmark import Benchmark
    from ovperc.data.segmentation.benchmark import SegmentationBenchmark

DESCRIPTION = "Check a downloaded benchmark, convert its annotations where needed, and verify counts and hashes."
EXAMPLES = """examples:
  ovperc prepare --list
  ovperc prepare coco_object --root data/coco_stuff164k
  ovperc prepare voc21 --root data --check
  ovperc prepare mvtec visa --root data
  ovperc prepare world-anomaly --out world_anomaly
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks, such as voc21, coco_object, ade847")
    parser.add_argument("--list", action="store_true", help="list the benchmarks with their download URLs")
    parser.add_argument(
        "--root", metavar="DIR", help="folder of the data set, or of all data sets (default: $OVPERC_DATA)"
    )
    parser.add_argument("--out", metavar="DIR", help="output folder for world-anomaly, in the layout of MVTec AD")
    parser.add_argument("--check", action="store_true", help="check only; write nothing")
    parser.add_argument("--read-all", action="store_true", help="also decode every annotation and verify its hash")
    parser.add_argument("--archives", metavar="DIR", help="also verify the downloaded archives in this folder")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="conversion threads (default: 4)")
    add_quiet_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prepares the named benchmarks; returns 1 unless all are ready."""
    if arguments.list:
        _print_list()
        return ExitCode.DONE
    if not arguments.names:
        raise UsageError("name at least one benchmark, or pass --list")
    ready = [_one(name, arguments) for name in arguments.names]
    return ExitCode.DONE if all(ready) else ExitCode.SOME_FAILED


def _one(name: str, arguments: argparse.Namespace) -> bool:
    from ovperc.data.benchmarks import get_benchmark
    from ovperc.data.segmentation.benchmark import SegmentationBenchmark

    try:
        row = get_benchmark(name)
        if row.name == "world-anomaly":
            return _write_world_anomaly(name, arguments.out)
        if row.source is None:
            raise ValueError("it is generated and needs no preparation")
        if isinstance(row, SegmentationBenchmark):
            return _prepare(name, row, arguments)
        return _open(name, row, arguments)
    except ValueError as error:
        complain(f"{name}: {error}")
        return False


def _write_world_anomaly(name: str, out: str | None) -> bool:
    from ovperc.data.world.anomaly_folder import write_world_anomaly

    if out is None:
        complain(f"{name}: it is generated and needs no preparation; pass --out DIR to write it to files")
        return False
    print(f"{name}: {write_world_anomaly(out)} files ({out})")
    return True


def _open(name: str, row: Benchmark, arguments: argparse.Namespace) -> bool:
    """Data sets that are read as packed: reports what was found."""
    try:
        found = row.images(root=arguments.root)
    except ValueError as error:
        complain(f"{name}: {error}")
        if row.source.homepage:
            complain(f"{name}: comes from {row.source.homepage}")
        return False
    if arguments.read_all:
        for index in range(len(found)):
            _ = found[index]
    if row.task == "anomaly":
        _print_categories(name, found)
    print(f"{name}: ready, {len(found)} images")
    return True


def _print_categories(name: str, found: AnomalyFiles) -> None:
    for category in found.categories:
        kinds = [record.kind for record in found.records if record.category == category]
        anomalous = len(kinds) - kinds.count("good")
        print(f"{name}: {category}: {found.num_normal(category)} training, {len(kinds) - anomalous} normal, "
              f"{anomalous} anomalous of {len(set(kinds) - {'good'})} defect types")  # fmt: skip


def _prepare(name: str, row: SegmentationBenchmark, arguments: argparse.Namespace) -> bool:
    from ovperc.data.layout import resolve_root
    from ovperc.data.prepare.preparation import check_archives, prepare

    source = row.source
    if arguments.archives:
        for line in check_archives(source, Path(arguments.archives)):
            print(f"{name}: {line}")
    outcome = prepare(
        row,
        resolve_root(arguments.root, *source.folders),
        check_only=arguments.check,
        read_all=arguments.read_all,
        workers=arguments.workers,
        progress=not arguments.quiet,
    )
    for note in outcome.notes:
        print(f"{name}: {note}")
    for problem in outcome.problems:
        complain(f"{name}: {outcome.root}: {problem}")
    if outcome.problems:
        needed = ", ".join(archive.name for archive in source.archives) or source.homepage
        complain(f"{name}: comes from {needed}{f'; {source.unpack}' if source.unpack else ''}")
    print(f"{name}: {'ready' if outcome.ready else 'NOT ready'} ({outcome.root})")
    return outcome.ready


def _print_list() -> None:
    from ovperc.data.benchmarks import BENCHMARKS

    for row in BENCHMARKS.values():
        source = row.source
        if source is None or not source.folders:
            continue
        print(f"{row.name}: {row.title}{f'; {source.licence}' if source.licence else ''}")
        print(f"  usual folder {source.folders[0]}; {source.citation}")
        for archive in source.archives:
            print(f"  {archive.name}  {archive.url}{f'  ({archive.note})' if archive.note else ''}")
        for line in filter(None, (source.homepage, source.unpack)):
            print(f"  {line}")
