"""``prepare_data``: check a download, convert what needs converting, verify it. ``--help`` imports nothing heavy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ovperc.cli_common import EXIT_INTERRUPTED, EXIT_OK, EXIT_SOME_FAILED, complain

EXAMPLE = """examples:
  python tools/prepare_data.py --list
  python tools/prepare_data.py coco_object --root data/coco_stuff164k
  python tools/prepare_data.py voc21 --root data --check
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks, such as voc21, coco_object, ade847")
    parser.add_argument("--list", action="store_true", help="list the benchmarks, what to download and from where")
    parser.add_argument(
        "--root", metavar="DIR", help="the data set's folder, or the folder of all data sets (default: $OVPERC_DATA)"
    )
    parser.add_argument("--check", action="store_true", help="only look; write nothing")
    parser.add_argument("--read-all", action="store_true", help="also decode every annotation and compare its hash")
    parser.add_argument("--archives", metavar="DIR", help="also verify the downloaded archives that lie in this folder")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="threads to convert with (default: 4)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``tools/prepare_data.py``."""
    parser = argparse.ArgumentParser(
        prog="prepare_data.py",
        description="Check a benchmark's download, convert what needs converting, verify counts and hashes. "
        "Exit status 0: ready.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Prepares every named benchmark; the exit status says whether all are ready."""
    if arguments.list:
        _print_list()
        return EXIT_OK
    if not arguments.names:
        complain("name at least one benchmark, or pass --list")
        return 2
    ready = [_prepare(name, arguments) for name in arguments.names]
    return EXIT_OK if all(ready) else EXIT_SOME_FAILED


def _prepare(name: str, arguments: argparse.Namespace) -> bool:
    from ovperc.data.layout import resolve_root
    from ovperc.data.prepare.preparation import check_archives, prepare
    from ovperc.data.sources import source_of

    try:
        source = source_of(name)
        if arguments.archives:
            for line in check_archives(source, Path(arguments.archives)):
                print(f"{name}: {line}")
        outcome = prepare(
            source,
            resolve_root(arguments.root, source.folder),
            check_only=arguments.check,
            read_all=arguments.read_all,
            workers=arguments.workers,
            progress=not arguments.quiet,
        )
    except ValueError as error:
        complain(f"{name}: {error}")
        return False
    for note in outcome.notes:
        print(f"{name}: {note}")
    for problem in outcome.problems:
        complain(f"{name}: {outcome.root}: {problem}")
    if outcome.problems:
        needed = ", ".join(archive.name for archive in source.archives)
        complain(f"{name}: comes from {needed}{f'; {source.unpack}' if source.unpack else ''}")
    print(f"{name}: {'ready' if outcome.ready else 'NOT ready'} ({outcome.root})")
    return outcome.ready


def _print_list() -> None:
    from ovperc.data.sources import BENCHMARK_SOURCES, source_of

    for name in BENCHMARK_SOURCES:
        source = source_of(name)
        print(f"{name}: {source.title}, {source.layout.count} images, {source.licence}")
        print(f"  usual folder {source.folder}; {source.citation}")
        for archive in source.archives:
            print(f"  {archive.name}  {archive.url}{f'  ({archive.note})' if archive.note else ''}")
        if source.unpack:
            print(f"  {source.unpack}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool and returns its exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("interrupted; the finished files are kept, run the same command to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
