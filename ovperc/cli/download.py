"""The ``download`` verb: fetches weights of the catalogue, for this machine or for one without a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from ovperc.cli.exits import ExitCode, UsageError, complain
from ovperc.core.checksum import file_sha256
from ovperc.weights.catalogue import CATALOGUE, WeightsEntry, get_entry, how_to_get, local_file, weights_folder
from ovperc.weights.download import DownloadError, download_file

DESCRIPTION = "Fetch weights of the catalogue, for this machine or for one without a network."
EXAMPLES = """examples:
  ovperc download --list
  ovperc download ViT-B-16/openai
  ovperc download ViT-B-16/openai RN50/openai --to /media/stick/weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="catalogue names, such as ViT-B-16/openai")
    parser.add_argument("--list", action="store_true", help="show the catalogue and what is on this machine")
    parser.add_argument("--to", metavar="DIR", type=Path, help="folder for the files (default: weights in OVPERC_HOME)")


def run(arguments: argparse.Namespace) -> int:
    """Shows and fetches what the command line names."""
    if not arguments.list and not arguments.names:
        raise UsageError("name the weights to fetch, or pass --list")
    entries = [get_entry(name) for name in arguments.names]
    if arguments.list:
        show_catalogue()
    failures = 0
    for entry in entries:
        try:
            print(fetch(entry, arguments.to or weights_folder()))
        except DownloadError as error:
            complain(how_to_get(entry, str(error)))
            failures += 1
    return ExitCode.SOME_FAILED if failures else ExitCode.DONE


def show_catalogue() -> None:
    """Prints one line per row: name, size, licence, where it is."""
    width = max(len(entry.name) for entry in CATALOGUE)
    for entry in CATALOGUE:
        place = local_file(entry) or ("not shipped" if entry.url is None else "not here")
        print(f"{entry.name:<{width}}  {entry.size_mb:>5} MB  {entry.licence:<10}  {entry.source:<46}  {place}")


def fetch(entry: WeightsEntry, folder: Path) -> str:
    """Brings one file into the folder and says what was done; raises DownloadError where it cannot."""
    if entry.url is None:
        place = local_file(entry)
        return f"{entry.name}: ships with ovperc, {place or 'but is missing here: install ovperc again'}"
    target = folder / entry.file
    if target.is_file() and (entry.sha256 is None or file_sha256(target) == entry.sha256):
        return f"{entry.name}: already at {target}"
    download_file(entry.url, target, sha256=entry.sha256)
    checked = "sha256 verified" if entry.sha256 else "the publisher gives no checksum"
    return f"{entry.name}: {target} ({checked})"
