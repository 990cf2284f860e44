#!/usr/bin/env python
"""Results of several methods side by side: ``python demo/compare_methods.py --out methods.png``.

One row per scene and one column per method, after the image and the ground truth. Runs offline on the bundled weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ovperc.cli.exits import run_to_exit_code
from ovperc.cli.options import Parser

METHODS = ("maskclip", "clip_surgery", "proxyclip", "clip_dinoiser", "trident", "trident_sam")
CELL_PX = 224


def run(arguments: argparse.Namespace) -> None:
    """Draws the sheet."""
    from ovperc.data.benchmarks import get_benchmark

    row = get_benchmark(arguments.benchmark)
    images = row.images(num_scenes=max(arguments.scenes) + 1, seed=arguments.seed)
    sheet = draw_sheet(arguments.methods, row, images, arguments.scenes)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(arguments.out, optimize=True)
    print(f"wrote {arguments.out}: {', '.join(('picture', 'truth', *arguments.methods))}")


def draw_sheet(methods: Sequence[str], row, images, scenes: Sequence[int]):
    """The sheet as a PIL image.

    Args:
        methods: names of methods, one column each.
        row: the benchmark, which provides the vocabulary.
        images: its labelled images.
        scenes: indices of the scenes, one row each.
    """
    import numpy as np
    from contact_sheet import stack
    from PIL import Image

    from ovperc.tasks.load import load
    from ovperc.viz.draw import panel
    from ovperc.viz.palette import palette

    samples = [images[index] for index in scenes]
    words = row.vocabulary(images)
    colours = np.append(palette(len(words.names)), [[0, 0, 0]], axis=0).astype(np.uint8)

    def cell(picture: np.ndarray) -> Image.Image:
        return Image.fromarray(picture).resize((CELL_PX, CELL_PX), Image.Resampling.NEAREST)

    def painted(labels: np.ndarray) -> Image.Image:
        return cell(colours[np.minimum(labels.astype(np.int64), len(colours) - 1)])

    columns = {"picture": [cell(sample.image) for sample in samples]}
    columns["truth"] = [painted(sample.labels) for sample in samples]
    for method in methods:
        predictor = load(method)
        columns[method] = [painted(predictor.predict(sample.image, words).labels) for sample in samples]
    rows = [
        panel([pictures[index] for pictures in columns.values()], list(columns) if index == 0 else None)
        for index in range(len(samples))
    ]
    return stack(rows, 4)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison from the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--benchmark", default="world-base", help="default: %(default)s")
    parser.add_argument("--scenes", nargs="+", type=int, default=(0, 1, 2), metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("outputs/methods.png"), help="default: %(default)s")
    return run_to_exit_code(lambda: run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
