"""Score a method on a benchmark: ``python tools/test.py sclip --benchmark world-base``."""

import sys

from ovperc.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["test", *sys.argv[1:]]))
