"""Fetch weights of the catalogue: ``python tools/download.py --list``."""

import sys

from ovperc.cli.download import main

if __name__ == "__main__":
    sys.exit(main())
