"""Contact sheet of several predictions, with titles and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ovperc.tasks.segmentation.prediction import SegPrediction
from ovperc.viz.draw import panel
from ovperc.viz.legend import PAPER_RGB, LegendEntry, legend_below

CELL_WIDTH_PX = 560
FONT_PX = 16
GAP_PX = 20


@dataclass(frozen=True)
class Cell:
    """A cell of the sheet.

    Attributes:
        title: shown above the image.
        image: ``(H, W, 3)`` uint8 RGB.
        prediction: shown to the right of the image.
    """

    title: str
    image: np.ndarray
    prediction: SegPrediction

    def draw(self) -> Image.Image:
        """Title, image and overlay side by side, legend below; ``CELL_WIDTH_PX`` wide."""
        pair = self.prediction.draw(self.image, legend=False, side_by_side=True)
        pair = pair.resize((CELL_WIDTH_PX, round(pair.height * CELL_WIDTH_PX / pair.width)), Image.Resampling.LANCZOS)
        shares = self.prediction.areas()
        colours = dict(zip(self.prediction.names, self.prediction.colours.tolist(), strict=True))
        entries = [LegendEntry(name, share, tuple(colours[name])) for name, share in shares.items() if share > 0]
        return stack([panel([pair], [self.title]), legend_below(entries, CELL_WIDTH_PX, FONT_PX, max_lines=6)])


def contact_sheet(cells: Sequence[Cell], columns: int = 2) -> Image.Image:
    """Arranges the cells in rows."""
    drawn = [cell.draw() for cell in cells]
    rows = [panel(drawn[start : start + columns], gap_px=GAP_PX) for start in range(0, len(drawn), columns)]
    return stack(rows, GAP_PX)


def stack(pictures: Sequence[Image.Image], gap_px: int = 0) -> Image.Image:
    """Stacks images vertically, aligned at the left."""
    height = sum(picture.height for picture in pictures) + gap_px * (len(pictures) - 1)
    paper = Image.new("RGB", (max(picture.width for picture in pictures), height), PAPER_RGB)
    top = 0
    for picture in pictures:
        paper.paste(picture, (0, top))
        top += picture.height + gap_px
    return paper
