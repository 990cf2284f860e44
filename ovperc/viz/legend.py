"""Legends and colour bars, on a background of their own so that they are readable next to any image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ovperc.viz.palette import heat_colours
from ovperc.viz.text import font_for, shorten, text_width_px

PAPER_RGB = (252, 252, 252)
_INK_RGB = (30, 30, 30)
_FAINT_RGB = (110, 110, 110)
_OUTLINE_RGB = (150, 150, 150)
_MAX_NAME_EM = 12


@dataclass(frozen=True)
class LegendEntry:
    """An entry of a legend.

    Attributes:
        name: class name.
        fraction: fraction of the image's pixels, in ``[0, 1]``.
        rgb: colour of the swatch; ``None`` for an entry of several classes.
    """

    name: str
    fraction: float
    rgb: tuple[int, int, int] | None


@dataclass(frozen=True)
class _Layout:
    """Layout of a legend, in px."""

    font_px: int
    row_px: int
    margin_px: int
    swatch_px: int
    name_px: int
    percent_px: int

    @classmethod
    def of(cls, entries: Sequence[LegendEntry], font_px: int, max_width_px: int) -> _Layout:
        percent_px = max((text_width_px(_percent(entry.fraction), font_px) for entry in entries), default=0)
        margin_px = max(4, font_px // 2)
        swatch_px = font_px
        widest = max((text_width_px(entry.name, font_px) for entry in entries), default=0)
        room = max_width_px - swatch_px - percent_px - 4 * margin_px
        name_px = max(2 * font_px, min(widest, _MAX_NAME_EM * font_px, room))
        return cls(font_px, math.ceil(1.5 * font_px), margin_px, swatch_px, name_px, percent_px)

    @property
    def column_px(self) -> int:
        return self.swatch_px + self.name_px + self.percent_px + 2 * self.margin_px


def largest_entries(entries: Sequence[LegendEntry], limit: int) -> list[LegendEntry]:
    """Entries sorted by size, at most ``limit``; the rest become one entry, "+n more"."""
    ordered = sorted((entry for entry in entries if entry.fraction > 0), key=lambda entry: -entry.fraction)
    if len(ordered) <= limit:
        return ordered
    shown, rest = ordered[: limit - 1], ordered[limit - 1 :]
    return [*shown, LegendEntry(f"+{len(rest)} more", sum(entry.fraction for entry in rest), None)]


def legend_beside(entries: Sequence[LegendEntry], height_px: int, font_px: int, max_lines: int = 16) -> Image.Image:
    """One column, at least as high as the image; entries that do not fit are merged into the last one."""
    lines = max(4, min(max_lines, (height_px - font_px) // math.ceil(1.5 * font_px)))
    shown = largest_entries(entries, lines)
    layout = _Layout.of(shown, font_px, max_width_px=30 * font_px)
    height_px = max(height_px, len(shown) * layout.row_px + 2 * layout.margin_px)
    paper = Image.new("RGB", (layout.column_px + 2 * layout.margin_px, height_px), PAPER_RGB)
    for row, entry in enumerate(shown):
        _draw_entry(ImageDraw.Draw(paper), entry, layout.margin_px, layout.margin_px + row * layout.row_px, layout)
    return paper


def legend_below(entries: Sequence[LegendEntry], width_px: int, font_px: int, max_lines: int = 16) -> Image.Image:
    """Columns below an image of a given width, filled from left to right, largest class first."""
    shown = largest_entries(entries, max_lines)
    layout = _Layout.of(shown, font_px, max_width_px=width_px)
    step_px = layout.column_px + 3 * layout.margin_px
    columns = max(1, min(len(shown), (width_px + layout.margin_px) // step_px))
    rows = math.ceil(len(shown) / columns)
    paper = Image.new("RGB", (width_px, rows * layout.row_px + 2 * layout.margin_px), PAPER_RGB)
    for index, entry in enumerate(shown):
        row, column = divmod(index, columns)
        left, top = layout.margin_px + column * step_px, layout.margin_px + row * layout.row_px
        _draw_entry(ImageDraw.Draw(paper), entry, left, top, layout)
    return paper


def colour_bar(low: float, high: float, height_px: int, font_px: int, label: str) -> Image.Image:
    """A vertical scale from ``high`` at the top to ``low``, with five ticks and a label above."""
    margin = max(4, font_px // 2)
    head = 2 * font_px if label else margin
    height_px = max(height_px, 6 * font_px + head)
    ticks = [f"{value:.3g}" for value in np.linspace(high, low, 5)]
    width = 3 * margin + font_px + max(text_width_px(text, font_px) for text in [*ticks, "-0.00"])
    width = max(width, text_width_px(label, font_px) + 2 * margin)
    paper = Image.new("RGB", (width, height_px), PAPER_RGB)
    draw = ImageDraw.Draw(paper)
    draw.text((margin, margin), label, fill=_INK_RGB, font=font_for(label, font_px))
    top, length = head + font_px // 2, height_px - head - font_px - margin
    bar = heat_colours(np.repeat(np.linspace(1, 0, length)[:, None], font_px, axis=1))
    paper.paste(Image.fromarray(bar), (margin, top))
    draw.rectangle((margin, top, margin + font_px - 1, top + length - 1), outline=_OUTLINE_RGB)
    for index, text in enumerate(ticks):
        y = top + index * (length - 1) / 4
        draw.text((2 * margin + font_px, y), text, fill=_INK_RGB, font=font_for(text, font_px), anchor="lm")
    return paper


def _draw_entry(draw: ImageDraw.ImageDraw, entry: LegendEntry, left: int, top: int, layout: _Layout) -> None:
    middle = top + layout.row_px / 2
    if entry.rgb is not None:
        swatch = (left, middle - layout.swatch_px / 2, left + layout.swatch_px - 1, middle + layout.swatch_px / 2 - 1)
        draw.rectangle(swatch, fill=entry.rgb, outline=_OUTLINE_RGB)
    name_left = left + layout.swatch_px + layout.margin_px
    name = shorten(entry.name, layout.name_px, layout.font_px)
    ink = _INK_RGB if entry.rgb is not None else _FAINT_RGB
    draw.text((name_left, middle), name, fill=ink, font=font_for(name, layout.font_px), anchor="lm")
    percent = _percent(entry.fraction)
    right = name_left + layout.name_px + layout.margin_px + layout.percent_px
    draw.text((right, middle), percent, fill=_FAINT_RGB, font=font_for(percent, layout.font_px), anchor="rm")


def _percent(fraction: float) -> str:
    return "<0.1%" if 0 < fraction < 0.0005 else f"{100 * fraction:.1f}%"
