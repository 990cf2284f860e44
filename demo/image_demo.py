"""Segments images with the words you type: ``python demo/image_demo.py photo.jpg --words "red star, grass"``."""

import sys

from ovperc.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
