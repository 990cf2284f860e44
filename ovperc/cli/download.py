"""The ``download`` verb: fetches published weights, for this machine or for one without a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from ovperc.cli.exits import ExitCode, UsageError, complain
from ovperc.weights.caches import weights_folder
from ovperc.weights.catalogue import CATALOGUE, local_file
from ovperc.weights.errors import MissingWeightsError
from ovperc.weights.fetching import fetch_weights, find_fetchable

DESCRIPTION = "Fetch published weights, for this machine or for one without a network."
EXAMPLES = """examples:
  ovperc download --list
  ovperc download ViT-B-16/openai
  ovperc download ViT-B-16/openai hf-hub:google/siglip-base-patch16-224 --to /media/stick/weights
on the other machine, copy the folder to OVPERC_HOME/weights; the same names then load without a network
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="catalogue name, open_clip's ARCH/TAG, timm's ARCH.TAG, hf-hub:OWNER/NAME",
    )
    parser.add_argument("--list", action="store_true", help="show the catalogue and what is on this machine")
    parser.add_argument("--to", metavar="DIR", type=Path, help="folder for the files (default: weights in OVPERC_HOME)")


def run(arguments: argparse.Namespace) -> int:
    """Shows and fetches what the command line names."""
    if not arguments.list and not arguments.names:
        raise UsageError("name the weights to fetch, or pass --list")
    entries = [find_fetchable(name) for name in arguments.names]
    if arguments.list:
        show_catalogue()
    failures = 0
    for entry in entries:
        try:
            fetched = fetch_weights(entry, arguments.to or weights_folder())
        except MissingWeightsError as error:
            complain(str(error))
            failures += 1
        else:
            print(f"{fetched.name}: {fetched.path} ({fetched.note})")
    return ExitCode.SOME_FAILED if failures else ExitCode.DONE


def show_catalogue() -> None:
    """Prints one line per row: name, size, licence, paper, source, where it is."""
    width = max(len(entry.name) for entry in CATALOGUE)
    for entry in CATALOGUE:
        place = local_file(entry) or ("not shipped" if entry.shipped else "not here")
        paper = f"arXiv:{entry.paper}" if entry.paper else ""
        details = f"{entry.size_mb:>6} MB  {entry.licence:<25}  {paper:<16}  {entry.source}"
        print(f"{entry.name:<{width}}  {details}  {place}")
