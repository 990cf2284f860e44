"""The confusion matrix as an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ovperc.viz.legend import PAPER_RGB
from ovperc.viz.palette import channels, heat_colours
from ovperc.viz.text import font_for, shorten, text_width_px

_INK_RGB = (30, 30, 30)
_FONT_PX = 14
_NAME_PX = 150
_OTHERS = "others"


def confusion_heat_map(
    counts: np.ndarray, names: Sequence[str], max_classes: int = 24, cell_px: int = 34
) -> Image.Image:
    """Draws a confusion matrix: rows are true classes, columns predictions, and each row sums to 100 %.

    Args:
        counts: ``(C, C)`` integers, true by predicted class.
        names: class -> name.
        max_classes: number of largest classes shown; the rest are merged into a last row and column.
        cell_px: side of a cell; values of at least 1 % are printed.
    """
    counts, names = _largest(np.asarray(counts, dtype=np.float64), list(names), max_classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(names) * cell_px
    left = 2 * _FONT_PX + min(_NAME_PX, max(text_width_px(name, _FONT_PX) for name in names)) + 8
    paper = Image.new("RGB", (left + size + 8, left + size + 8), PAPER_RGB)
    draw = ImageDraw.Draw(paper)
    for row, name in enumerate(names):
        short = shorten(name, _NAME_PX, _FONT_PX)
        middle = left + (row + 0.5) * cell_px
        draw.text((left - 6, middle), short, fill=_INK_RGB, font=font_for(short, _FONT_PX), anchor="rm")
        _write_upright(paper, short, int(middle), left - 6)
        for column in range(len(names)):
            _draw_cell(draw, shares[row, column], left + column * cell_px, left + row * cell_px, cell_px)
    draw.text((left + size / 2, 4), "predicted", fill=_INK_RGB, font=font_for("p", _FONT_PX), anchor="mt")
    _write_upright(paper, "true", _FONT_PX // 2 + 4, left + size // 2 + 16)
    return paper


def _largest(counts: np.ndarray, names: list[str], limit: int) -> tuple[np.ndarray, list[str]]:
    if len(names) <= limit:
        return counts, names
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    shown, rest = np.sort(order[: limit - 1]), order[limit - 1 :]
    gather = np.zeros((len(names), limit))
    gather[shown, np.arange(limit - 1)] = 1
    gather[rest, limit - 1] = 1
    return gather.T @ counts @ gather, [*(names[index] for index in shown), f"{len(rest)} {_OTHERS}"]


def _draw_cell(draw: ImageDraw.ImageDraw, share: float, left: int, top: int, side: int) -> None:
    # The square root makes small confusions visible.
    rgb = heat_colours(np.sqrt(np.array(share)))
    draw.rectangle((left, top, left + side - 2, top + side - 2), fill=channels(rgb))
    if share >= 0.01:
        ink = (20, 20, 20) if rgb.astype(float) @ (0.299, 0.587, 0.114) > 130 else (245, 245, 245)
        text = f"{100 * share:.0f}"
        draw.text((left + side / 2 - 1, top + side / 2 - 1), text, fill=ink, font=font_for(text, 12), anchor="mm")


def _write_upright(paper: Image.Image, text: str, middle_px: int, bottom_px: int) -> None:
    """Text rotated to read upwards."""
    width, height = text_width_px(text, _FONT_PX) + 2, _FONT_PX + 6
    line = Image.new("RGB", (width, height), PAPER_RGB)
    ImageDraw.Draw(line).text((1, height / 2), text, fill=_INK_RGB, font=font_for(text, _FONT_PX), anchor="lm")
    turned = line.rotate(90, expand=True)
    paper.paste(turned, (middle_px - height // 2, bottom_px - width))
