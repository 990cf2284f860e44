"""Run a method on images: ``python demo/image_demo.py photo.jpg --words "red star, grass" --out out``."""

import sys

from ovperc.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
