"""Measure speed and memory: ``python tools/benchmark.py --list``."""

import sys

from ovperc.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
