"""Check and convert a benchmark's data: ``python tools/prepare_data.py coco_object --root data/coco_stuff164k``."""

import sys

from ovperc.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
