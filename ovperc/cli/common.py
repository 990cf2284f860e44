"""What the command-line tools share: exit statuses, arguments that choose a model, staged output, progress.

Imports nothing heavy, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    pass

EXIT_OK = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose a method, its weights, and where and how it computes."""
    group = parser.add_argument_group("model")
    group.add_argument("--method", default="maskclip", metavar="NAME", help="method (default: %(default)s)")
    group.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="name from the catalogue, hf-hub: name, or a checkpoint file (default: the method's own, or clip-mini)",
    )
    group.add_argument("--arch", metavar="NAME", help="architecture, where the weights do not tell it")
    group.add_argument("--device", default="auto", metavar="DEVICE", help="cpu, cuda, cuda:1 or auto (default: auto)")
    group.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="of the towers")


def add_file_arguments(parser: argparse.ArgumentParser, receives: str) -> None:
    """Adds images in, folder out, and how both are gone through; ``receives`` says what the folder gets."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, addresses or folders")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help=f"receives {receives}")
    parser.add_argument("--recursive", action="store_true", help="also the folders inside folders")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no line for each image")


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of :func:`add_model_arguments` as keywords of :func:`ovperc.load`."""
    return {
        "name": arguments.method,
        "weights": arguments.weights,
        "arch": arguments.arch,
        "device": arguments.device,
        "dtype": arguments.dtype,
    }


def complain(message: object) -> None:
    """Prints an error on standard error."""
    print(f"error: {message}", file=sys.stderr, flush=True)


def run_until_interrupted(run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Exit status of ``run(arguments)``; Ctrl-C gets a line on standard error and a status of its own."""
    try:
        return run(arguments)
    except KeyboardInterrupt:
        complain("interrupted; what is complete is kept, nothing partial is left")
        return EXIT_INTERRUPTED


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Prints the warnings of the block as one line each on standard error, without the place in the code."""
    with warnings.catch_warnings(record=True) as told:
        yield
    for warning in told:
        print(f"warning: {warning.message}", file=sys.stderr, flush=True)


@contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """A hidden folder inside ``target`` whose files move into ``target`` when the block ends well.

    On any error or interrupt in the block nothing of it stays behind, so several files that belong
    together appear together.

    Raises:
        OSError: ``target`` cannot be made or written.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target) as folder:
        yield Path(folder)
        moved: list[Path] = []
        try:
            for file in sorted(Path(folder).iterdir()):
                os.replace(file, target / file.name)
                moved.append(target / file.name)
        except BaseException:
            for file in moved:
                file.unlink(missing_ok=True)
            raise


@contextmanager
def stop_on_terminate() -> Iterator[None]:
    """Lets SIGTERM end the block like Ctrl-C does, so that staged output is removed."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
