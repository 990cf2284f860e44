"""Text on images: fonts and truncation."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=64)
def load_font(size_px: int, latin: bool = True) -> Font:
    """Font of a given size: Pillow's default, or matplotlib's DejaVu for non-ASCII text."""
    spec = None if latin else find_spec("matplotlib")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.exists():
            return ImageFont.truetype(str(path), size_px)
    return ImageFont.load_default(size_px)


def font_for(text: str, size_px: int) -> Font:
    """The font that covers the characters of a text."""
    return load_font(size_px, text.isascii())


def text_width_px(text: str, size_px: int) -> int:
    """Width of a text, rounded up."""
    return int(font_for(text, size_px).getlength(text) + 0.999)


def shorten(text: str, width_px: int, size_px: int) -> str:
    """The text, truncated in the middle if it is too wide; the ends of a long name are the most informative."""
    if text_width_px(text, size_px) <= width_px:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: (kept + 1) // 2].rstrip()}...{text[len(text) - kept // 2 :].lstrip()}"
        if text_width_px(short, size_px) <= width_px:
            return short
    return text[:1]
