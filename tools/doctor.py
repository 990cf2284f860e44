"""Says what is installed, which weights are there, what is missing, and the command that mends each."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also answers before ovperc is installed

from ovperc.cli.doctor import main

if __name__ == "__main__":
    raise SystemExit(main())
