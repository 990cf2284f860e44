"""Measure methods x formats of the export: ``python tools/export_table.py --out docs/benchmarks/export_formats.md``."""

import sys

from ovperc.export.formats_table import main

if __name__ == "__main__":
    sys.exit(main())
