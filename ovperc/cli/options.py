"""Options shared by several verbs. Imports nothing heavy, so that ``--help`` is fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from ovperc.cli.exits import UsageError
from ovperc.tasks.table import DEFAULT_METHOD


class Parser(argparse.ArgumentParser):
    """A parser that keeps line breaks in its texts and raises :class:`UsageError`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses all arguments; an unknown one is reported by the verb it was given to."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message}; see {self.prog} --help")


def add_method_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the positional METHOD, an alternative to ``--method``."""
    parser.add_argument(
        "method", nargs="?", default=argparse.SUPPRESS, metavar="METHOD", help="method name or config file"
    )


def add_model_options(
    parser: argparse.ArgumentParser,
    method: str | None = DEFAULT_METHOD,
    compute: bool = True,
    published: bool = True,
) -> None:
    """Adds the options for the method, its weights and settings, and the device.

    Args:
        parser: parser of a verb.
        method: default of ``--method``.
        compute: whether to add device and precision; otherwise float32 on the CPU.
        published: whether to add the option that disables the tower's overlay.
    """
    group = parser.add_argument_group("model")
    default = "" if method is None else f" (default: {method})"
    group.add_argument("--method", default=method, metavar="METHOD", help=f"method name or config file{default}")
    group.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="catalogue name, hf-hub: name or checkpoint file (default: the method's own, or clip-mini)",
    )
    group.add_argument("--arch", metavar="NAME", help="architecture, if the weights do not specify it")
    if published:
        group.add_argument(
            "--as-published", action="store_true", help="use the method as published, without the tower's overlay"
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
    """Adds ``--set``, which overrides settings of a config."""
    group.add_argument(
        "--set",
        "--cfg-options",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override settings by dotted key, such as tiler.crop_px=448",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the output and the launcher of a run."""
    group = parser.add_argument_group("run")
    group.add_argument("--work-dir", metavar="DIR", help="folder for logs and results (default: work_dirs/NAME)")
    group.add_argument(
        "--launcher", choices=("none", "pytorch"), default="none", help="pytorch: the process was started by torchrun"
    )
    group.add_argument("--json", metavar="FILE", help="also write the summary (metrics, settings, versions) here")


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for input images and the output folder."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, http(s) URLs or folders")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="output folder")
    parser.add_argument("--recursive", action="store_true", help="include subfolders")
    add_quiet_option(parser)


def add_quiet_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no line per image")


def load_predictor(arguments: argparse.Namespace, **options: Any) -> Any:
    """Loads the predictor chosen by :func:`add_model_options`; ``options`` are passed to :func:`ovperc.load`."""
    from ovperc.core.config_files import parse_overrides
    from ovperc.tasks.load import load

    settings = {**model_settings(arguments), "as_published": arguments.as_published, **options}
    return load(**settings, **parse_overrides(arguments.overrides))


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Method, weights, device and precision as keywords of :func:`ovperc.load`.

    Raises:
        UsageError: no method was given.
    """
    if arguments.method is None:
        raise UsageError("no method given; 'ovperc info' lists them")
    return {
        "name": arguments.method,
        "weights": arguments.weights,
        "arch": arguments.arch,
        "device": arguments.device,
        "dtype": arguments.dtype,
    }
