"""The ``ovperc`` command: one verb per tool, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ovperc.cli.common import EXIT_OK, EXIT_USAGE, complain


@dataclass(frozen=True)
class Verb:
    """A verb: the module whose ``main(argv)`` runs it, and what it does."""

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "predict": Verb("ovperc.cli.predict", "segment images with the words you type"),
    "test": Verb("ovperc.cli.test", "score a method on a benchmark"),
    "train": Verb("ovperc.cli.train", "train a config"),
    "prepare": Verb("ovperc.cli.prepare", "check and convert the data of a benchmark"),
    "export": Verb("ovperc.cli.export", "write a folder that runs without torch"),
    "download": Verb("ovperc.cli.download", "fetch weights, for this machine or one without a network"),
    "doctor": Verb("ovperc.cli.doctor", "say what is installed, what is missing, and what mends it"),
}


def usage() -> str:
    """The help text."""
    width = max(map(len, VERBS)) + 2
    lines = [f"  {name:<{width}}{verb.help}" for name, verb in VERBS.items()]
    return "\n".join(
        ["usage: ovperc VERB ...", "", "Name things in plain words, get masks.", "", "verbs:", *lines, "",
         "ovperc VERB --help shows the options of a verb."]
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return EXIT_OK if arguments else EXIT_USAGE
    if arguments[0] == "--version":
        from ovperc.core.version import __version__

        print(__version__)
        return EXIT_OK
    name, *rest = arguments
    if name not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(name, VERBS, n=1)
        complain(f"unknown verb {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(VERBS)}"))
        return EXIT_USAGE
    return importlib.import_module(VERBS[name].module).main(rest)


if __name__ == "__main__":
    sys.exit(main())
