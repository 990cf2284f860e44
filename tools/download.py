"""Fetch weights of the catalogue: ``python tools/download.py --list``."""

import sys

from ovperc.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["download", *sys.argv[1:]]))
