#!/usr/bin/env python
"""Measures ovperc side by side with what it is held to: ratios of times, peak memory.

Example:
    python tools/benchmark.py tower-ratio second-vocabulary --runs 7 --csv docs/benchmarks/cpu.csv
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import sys
from pathlib import Path


def _parser() -> argparse.ArgumentParser:
    description, _, example = (__doc__ or "").partition("\nExample:")
    parser = argparse.ArgumentParser(
        description=description, epilog="example:" + example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help="names of cases (default: all); --list shows them")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--runs", type=int, default=7, help="pairs that count (default: 7)")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's choice)")
    parser.add_argument("--csv", type=Path, help="also write the figures here")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs cases; exit status 1 if a figure misses its limit, 2 for unusable arguments."""
    parser = _parser()
    args = parser.parse_args(argv)
    from benchmarks import all_cases
    from ovperc.core.naming import suggest

    cases = all_cases()
    if args.list:
        for case in cases.values():
            print(f"{case.name:22} {case.summary}")
        return 0
    for name in args.cases:
        if name not in cases:
            parser.error(f"unknown case {name!r}; {suggest(name, cases)}")
    return _run([cases[name] for name in args.cases] or list(cases.values()), args)


def _run(cases: list, args: argparse.Namespace) -> int:
    import torch
    from rich.console import Console

    from benchmarks.case import Options
    from ovperc.core.atomic import atomic_write

    if args.threads:
        torch.set_num_threads(args.threads)
    options = Options(args.device, args.dtype, args.runs, args.threads)
    console = Console()
    console.print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.device}, {args.dtype}")
    rows = []
    for case in cases:
        console.rule(case.name)
        for row in case.run(options):
            rows.append(row)
            bound = "" if row.limit is None else f"   ({'<=' if row.at_most else '>='} {row.limit:g})"
            mark = {None: " ", True: "[green]held[/]", False: "[red]missed[/]"}[row.held]
            console.print(f"{row.setting}: [bold]{row.value:.3f} {row.unit}[/]{bound} {mark}  [dim]{row.detail}[/]")
    if args.csv:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
        with atomic_write(args.csv) as (partial,):
            partial.write_text(buffer.getvalue(), encoding="utf-8")
        print(f"wrote {args.csv}")
    return 1 if any(row.held is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
