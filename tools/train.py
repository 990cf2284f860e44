"""Train a config on mmengine's Runner: ``python tools/train.py configs/train/clip_mini.py``."""

import sys

from ovperc.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
