"""Options that several verbs share, declared once. Imports nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from ovperc.cli.exits import UsageError
from ovperc.tasks.table import DEFAULT_METHOD


class Parser(argparse.ArgumentParser):
    """A parser that keeps the line breaks of its texts, and whose errors are :class:`UsageError`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses all arguments: one that a verb does not know is an error of that verb."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message}; see {self.prog} --help")


def add_method_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the positional METHOD; ``--method`` says the same."""
    parser.add_argument(
        "method", nargs="?", default=argparse.SUPPRESS, metavar="METHOD", help="a method's name, or its config file"
    )


def add_model_options(
    parser: argparse.ArgumentParser,
    method: str | None = DEFAULT_METHOD,
    compute: bool = True,
    published: bool = True,
) -> None:
    """Adds the options that choose a method, its weights and settings, and where it computes.

    Args:
        parser: of a verb.
        method: default of ``--method``.
        compute: whether device and precision can be chosen; else float32 on the CPU.
        published: whether the tower's overlay can be left out.
    """
    group = parser.add_argument_group("model")
    default = "" if method is None else f" (default: {method})"
    group.add_argument(
        "--method", default=method, metavar="METHOD", help=f"a method's name, or its config file{default}"
    )
    group.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="catalogue name, hf-hub: name, or checkpoint file (default: the method's own, or clip-mini)",
    )
    group.add_argument("--arch", metavar="NAME", help="architecture, where the weights do not name it")
    if published:
        group.add_argument(
            "--as-published", action="store_true", help="leave out what the tower's overlay changes in the method"
        )
    if compute:
        group.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1 or auto (default: auto)")
        group.add_argument(
            "--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="of the towers"
        )
    else:
        parser.set_defaults(device="cpu", dtype="float32")
    add_overrides(group)


def add_overrides(group: argparse._ActionsContainer) -> None:
    """Adds ``--set``, which replaces settings of a config."""
    group.add_argument(
        "--set",
        "--cfg-options",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="replace settings by dotted key, such as tiler.crop_px=448",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where a run writes and how it is started."""
    group = parser.add_argument_group("run")
    group.add_argument("--work-dir", metavar="DIR", help="for logs and results (default: work_dirs/NAME)")
    group.add_argument(
        "--launcher", choices=("none", "pytorch"), default="none", help="pytorch: this process was started by torchrun"
    )
    group.add_argument("--json", metavar="FILE", help="also write the summary here (metrics, settings, versions)")


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Adds images in, folder out, and how both are gone through."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, http(s) addresses or folders")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="folder for the results")
    parser.add_argument("--recursive", action="store_true", help="include subfolders")
    add_quiet_option(parser)


def add_quiet_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no line for each image")


def load_predictor(arguments: argparse.Namespace, **options: Any) -> Any:
    """The predictor that the options of :func:`add_model_options` choose; ``options`` go to :func:`ovperc.load`."""
    from ovperc.core.config_files import parse_overrides
    from ovperc.tasks.load import load

    settings = {**model_settings(arguments), "as_published": arguments.as_published, **options}
    return load(**settings, **parse_overrides(arguments.overrides))


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Method, weights, device and precision, as keywords of :func:`ovperc.load`.

    Raises:
        UsageError: no method is named.
    """
    if arguments.method is None:
        raise UsageError("name a method; ovperc info lists them")
    return {
        "name": arguments.method,
        "weights": arguments.weights,
        "arch": arguments.arch,
        "device": arguments.device,
        "dtype": arguments.dtype,
    }
