"""Gather summaries of ``tools/test.py`` into a Markdown table: ``python tools/model_table.py work_dirs``."""

import sys

from ovperc.cli.reports import model_table_main

if __name__ == "__main__":
    sys.exit(model_table_main())
