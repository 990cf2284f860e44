"""Published figures beside ours: ``python tools/reproduce.py sclip/voc21``."""

import sys

from ovperc.cli.reports import reproduce_main

if __name__ == "__main__":
    sys.exit(reproduce_main())
