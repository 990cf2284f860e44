"""The ``download`` verb: downloads published weights, for this machine or for an offline one."""

from __future__ import annotations

import argparse
from pathlib import Path

from ovperc.cli.exits import ExitCode, UsageError, complain
from ovperc.weights.caches import weights_folder
from ovperc.weights.catalogue import CATALOGUE, local_file
from ovperc.weights.errors import MissingWeightsError
from ovperc.weights.fetching import fetch_weights, find_fetchable

DESCRIPTION = "Download published weights, for this machine or for an offline one."
EXAMPLES = """examples:
  ovperc download --list
  ovperc download ViT-B-16/openai
  ovperc download ViT-B-16/openai hf-hub:google/siglip-base-patch16-224 --to /media/stick/weights
on the offline machine, copy the folder to OVPERC_HOME/weights; the same names then load without a network
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="catalogue name, open_clip ARCH/TAG, timm ARCH.TAG or hf-hub:OWNER/NAME",
    )
    parser.add_argument("--list", action="store_true", help="list the catalogue and what is already downloaded")
    parser.add_argument("--to", metavar="DIR", type=Path, help="target folder (default: OVPERC_HOME/weights)")


def run(arguments: argparse.Namespace) -> int:
    """Lists the catalogue or downloads the named weights."""
    if not arguments.list and not arguments.names:
        raise UsageError("name the weights to download, or pass --list")
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
    """Prints one line per entry: name, size, licence, paper, source, location."""
    width = max(len(entry.name) for entry in CATALOGUE)
    for entry in CATALOGUE:
        place = local_file(entry) or ("not shipped" if entry.shipped else "not downloaded")
        paper = f"arXiv:{entry.paper}" if entry.paper else ""
        details = f"{entry.size_mb:>6} MB  {entry.licence:<25}  {paper:<16}  {entry.source}"
        print(f"{entry.name:<{width}}  {details}  {place}")
