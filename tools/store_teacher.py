"""Stores CLIP's embeddings of proposals: ``python tools/store_teacher.py data/coco/train2017 --out data/teacher``."""

import sys

from ovperc.cli.store_teacher import main

if __name__ == "__main__":
    sys.exit(main())
