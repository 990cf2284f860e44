"""``python -m ovperc``: the command line."""

import sys

from ovperc.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
