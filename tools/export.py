"""Export a method as a folder that runs without torch: ``python tools/export.py maskclip --out exports/maskclip``."""

import sys

from ovperc.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
