"""The ``ovperc`` command: one parser tree; the module of a verb is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ovperc.cli.exits import MEANINGS, ExitCode, UsageError, run_to_exit_code
from ovperc.cli.options import Parser
from ovperc.core.naming import suggest
from ovperc.core.version import __version__

RESUME = "run the same command again to continue"


@dataclass(frozen=True)
class Verb:
    """A verb of the ``ovperc`` command.

    Attributes:
        name: its name, and that of its module in :mod:`ovperc.cli`, which has ``DESCRIPTION``, ``EXAMPLES``,
            ``add_arguments(parser)`` and ``run(arguments)``.
        help: one-line description.
        after_stop: message about the state after Ctrl-C or SIGTERM.
    """

    name: str
    help: str
    after_stop: str = ""


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("predict", "run a method on images", "results of completed images are kept"),
        Verb("test", "evaluate a method on a benchmark", RESUME),
        Verb("train", "train a config", "run the same command with --resume to continue from the last checkpoint"),
        Verb("prepare", "check and convert the data of a benchmark", RESUME),
        Verb("export", "export a method to a folder that runs without torch", "nothing was written"),
        Verb("download", "download weights, for this machine or an offline one", RESUME),
        Verb("benchmark", "measure speed and memory"),
        Verb("info", "list methods, or show the components and settings of one"),
        Verb("doctor", "check the installation and suggest fixes"),
    )
}


def build_parser(*filled: str) -> Parser:
    """Builds the parser tree.

    Args:
        *filled: verbs whose modules are imported to add their options; the others are only listed.
    """
    codes = "\n".join(f"  {code.value:<5} {meaning}" for code, meaning in MEANINGS.items())
    parser = Parser(
        prog="ovperc",
        description="Dense open-vocabulary perception: segmentation, detection and anomaly localization from text.",
        epilog=f"exit codes:\n{codes}\n\n'ovperc VERB --help' shows the options of a verb.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
    for verb in VERBS.values():
        if verb.name not in filled:
            verbs.add_parser(verb.name, help=verb.help, add_help=False)
            continue
        module = importlib.import_module(f"ovperc.cli.{verb.name}")
        branch = verbs.add_parser(verb.name, help=verb.help, description=module.DESCRIPTION, epilog=module.EXAMPLES)
        module.add_arguments(branch)
        branch.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Args:
        argv: verb and options; ``sys.argv`` by default.

    Returns:
        A value of :class:`ovperc.cli.exits.ExitCode`.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    verb = VERBS.get(given[0]) if given else None

    def work() -> int | None:
        _set_pixel_limit()
        arguments = _parse(given)
        return ExitCode.DONE if arguments is None else arguments.run(arguments)

    return run_to_exit_code(work, "" if verb is None else verb.after_stop)


def _set_pixel_limit() -> None:
    """Pillow's limit of pixels for this process, as ``OVPERC_MAX_PIXELS`` says."""
    given = os.environ.get("OVPERC_MAX_PIXELS")
    if not given:
        return
    if not given.isdecimal() or int(given) == 0:
        raise UsageError(f"OVPERC_MAX_PIXELS must be a number of pixels such as 400000000; got {given!r}")
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = -(-int(given) // 2)  # Pillow warns from here and refuses from twice as many


def _parse(given: Sequence[str]) -> argparse.Namespace | None:
    """Parsed arguments; None if the parser has already answered (``--help``, ``--version``)."""
    if given and given[0] not in VERBS and not given[0].startswith("-"):
        raise UsageError(f"unknown verb {given[0]!r}; {suggest(given[0], VERBS)}")
    try:
        return build_parser(*given[:1]).parse_args(given)
    except SystemExit:
        return None


if __name__ == "__main__":
    sys.exit(main())
