"""What ``train`` and ``test`` share on the command line: the Runner's options, and errors as messages."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ovperc.cli.common import EXIT_INTERRUPTED, EXIT_OK, EXIT_SOME_FAILED, complain


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say where a run writes, what it overrides and how it is started."""
    group = parser.add_argument_group("run")
    group.add_argument("--work-dir", metavar="DIR", help="for logs and results (default: work_dirs/NAME)")
    group.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="overrides by dotted key, such as a.b=3"
    )
    group.add_argument(
        "--launcher", choices=("none", "pytorch"), default="none", help="pytorch: this process was started by torchrun"
    )
    group.add_argument("--json", metavar="FILE", help="also write the summary here (metrics, settings, versions)")


def run_to_status(work: Callable[[], None]) -> int:
    """Runs ``work``; errors that a user can mend become one line on standard error and status 1."""
    try:
        work()
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
    except (ValueError, TypeError, OSError, ImportError) as error:
        complain(error)
        return EXIT_SOME_FAILED
    return EXIT_OK
