"""Fetches weights of the catalogue, for this machine or for one without a network.

Example:
    python tools/download.py --list
    python tools/download.py ViT-B-16/openai
    python tools/download.py ViT-B-16/openai RN50/openai --to /media/stick/weights
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ovperc.cli.common import EXIT_INTERRUPTED
from ovperc.core.checksum import file_sha256
from ovperc.weights.catalogue import CATALOGUE, WeightsEntry, get_entry, how_to_get, local_file, weights_folder
from ovperc.weights.download import DownloadError, download_file


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="catalogue names, such as ViT-B-16/openai")
    parser.add_argument("--list", action="store_true", help="show the catalogue and what is on this machine")
    parser.add_argument("--to", metavar="DIR", type=Path, help=f"folder for the files (default {weights_folder()})")
    parsed = parser.parse_args(arguments)
    if not parsed.list and not parsed.names:
        parser.error("name the weights to fetch, or pass --list")
    return parsed


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


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    try:
        return run(parse_arguments(arguments))
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on where it ended", file=sys.stderr)
        return EXIT_INTERRUPTED


def run(parsed: argparse.Namespace) -> int:
    """Shows and fetches what the command line names; returns the exit status."""
    if parsed.list:
        show_catalogue()
    try:
        entries = [get_entry(name) for name in parsed.names]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    failures = 0
    for entry in entries:
        try:
            print(fetch(entry, parsed.to or weights_folder()))
        except DownloadError as error:
            print(how_to_get(entry, str(error)), file=sys.stderr)
            failures += 1
    return 1 if failures else 0
