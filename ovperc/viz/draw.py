"""Drawing of results: overlays with a legend, heat maps with a scale, and panels of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ovperc.viz.legend import PAPER_RGB, LegendEntry, colour_bar, legend_below, legend_beside
from ovperc.viz.palette import channels, heat_colours
from ovperc.viz.text import font_for

# Smaller images are enlarged by an integer factor to about this size, so that the legend is readable.
_MIN_LONG_SIDE_PX = 448
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_DESATURATION = 0.5


def overlay(
    image: np.ndarray, labels: np.ndarray, colours: np.ndarray, alpha: float = 0.55, border_px: int = 1
) -> np.ndarray:
    """Overlays a label map on an image, with thin borders in full colour.

    The image is desaturated by half first, so that tints are not mistaken for object colours.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` integers.
        colours: label -> RGB, ``(C, 3)`` uint8.
        alpha: opacity of the overlay, 0 (image) to 1 (colours alone).
        border_px: line width on each side of a border; 0 for none.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    _check_same_size(image, labels)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1]; got {alpha}")
    base = image.astype(np.float32)
    base += _DESATURATION * ((base @ _GREY_WEIGHTS)[:, :, None] - base)
    tint = colours[labels]
    mixed = (base + alpha * (tint - base) + 0.5).astype(np.uint8)
    if border_px > 0:
        edge = _edges(labels, border_px)
        mixed[edge] = tint[edge]
    return mixed


def _check_same_size(image: np.ndarray, labels: np.ndarray) -> None:
    if image.shape != (*labels.shape, 3):
        raise ValueError(
            f"image and labels must have the same size; got image {image.shape} and labels {labels.shape} "
            "(draw on the image the prediction was made from)"
        )


def draw_segmentation(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    colours: np.ndarray,
    alpha: float = 0.55,
    legend: bool = True,
    side_by_side: bool = False,
    max_classes: int = 16,
) -> Image.Image:
    """Draws an overlay with a legend; small images are enlarged.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` integers.
        names: label -> name.
        colours: label -> RGB, ``(C, 3)`` uint8.
        alpha: opacity of the overlay.
        legend: whether to list the classes with their share of the pixels, to the right of the image or, if it
            is wide, below it.
        side_by_side: whether to add the original image on the left.
        max_classes: maximum number of legend entries; smaller classes are merged into the last one.
    """
    if max_classes < 1:
        raise ValueError(f"max_classes must be at least 1; got {max_classes}")
    _check_same_size(image, labels)
    factor = _enlargement(labels.shape)
    enlarged = np.asarray(_enlarge(image, factor, Image.Resampling.BICUBIC))
    enlarged_labels = labels.repeat(factor, axis=0).repeat(factor, axis=1)
    border_px = max(1, round(max(enlarged_labels.shape) / 900))
    picture = Image.fromarray(overlay(enlarged, enlarged_labels, colours, alpha, border_px))
    font_px = _font_px(picture.size)
    if side_by_side:
        picture = panel([enlarged, picture])
    if not legend:
        return picture
    counts = np.bincount(labels.ravel(), minlength=len(names))
    entries = [
        LegendEntry(names[label], float(counts[label] / labels.size), channels(colours[label]))
        for label in np.flatnonzero(counts).tolist()
    ]
    if picture.width > 1.5 * picture.height:
        return _stack(picture, legend_below(entries, max(picture.width, 16 * font_px), font_px, max_classes))
    return panel([picture, legend_beside(entries, picture.height, font_px, max_classes)], gap_px=0)


def heat_map(
    values: np.ndarray,
    low: float = 0.0,
    high: float = 1.0,
    label: str = "",
    image: np.ndarray | None = None,
    alpha: float = 0.6,
) -> Image.Image:
    """Draws a heat map on a fixed scale, dark to bright, with a colour bar.

    Args:
        values: ``(H, W)`` float, clipped to ``low..high``.
        low: value of the darkest colour.
        high: value of the brightest colour.
        label: label of the colour bar.
        image: ``(H, W, 3)`` uint8 RGB, drawn in grey under the colours.
        alpha: opacity of the colours.
    """
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"a heat map needs finite values (H, W); got shape {values.shape}")
    if not low < high:
        raise ValueError(f"low must be less than high; got low {low} and high {high}")
    colours = heat_colours(np.clip((values - low) / (high - low), 0, 1))
    if image is not None:
        if image.shape != colours.shape:
            raise ValueError(f"image and values must have the same size; got {image.shape} and {values.shape}")
        grey = (image.astype(np.float32) @ _GREY_WEIGHTS)[:, :, None]
        colours = (grey + alpha * (colours - grey) + 0.5).astype(np.uint8)
    picture = _enlarge(colours, _enlargement(values.shape), Image.Resampling.NEAREST)
    return panel([picture, colour_bar(low, high, picture.height, _font_px(picture.size), label)], gap_px=0)


def panel(
    images: Sequence[np.ndarray | Image.Image], titles: Sequence[str] | None = None, gap_px: int = 6
) -> Image.Image:
    """Places images side by side, aligned at the top, each under its title if given.

    Args:
        images: ``(H, W, 3)`` uint8 arrays or PIL images.
        titles: one per image.
        gap_px: gap between images.
    """
    pictures = [image if isinstance(image, Image.Image) else Image.fromarray(image) for image in images]
    if not pictures:
        raise ValueError("a panel needs at least one image")
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"a panel needs one title per image; got {len(titles)} titles for {len(pictures)} images")
    height = max(picture.height for picture in pictures)
    font_px = _font_px((max(picture.width for picture in pictures), height))
    head = 2 * font_px if titles else 0
    width = sum(picture.width for picture in pictures) + gap_px * (len(pictures) - 1)
    paper = Image.new("RGB", (width, height + head), PAPER_RGB)
    left = 0
    for index, picture in enumerate(pictures):
        paper.paste(picture, (left, head))
        if titles:
            place = (left + picture.width / 2, font_px)
            font = font_for(titles[index], font_px)
            ImageDraw.Draw(paper).text(place, titles[index], fill=(30, 30, 30), font=font, anchor="mm")
        left += picture.width + gap_px
    return paper


def _stack(top: Image.Image, bottom: Image.Image) -> Image.Image:
    paper = Image.new("RGB", (max(top.width, bottom.width), top.height + bottom.height), PAPER_RGB)
    paper.paste(top, (0, 0))
    paper.paste(bottom, (0, top.height))
    return paper


def _edges(labels: np.ndarray, width_px: int) -> np.ndarray:
    """``(H, W)`` bool: pixels within ``width_px`` of another label, on both sides of a border."""
    edge = np.zeros(labels.shape, dtype=bool)
    vertical = labels[1:] != labels[:-1]
    horizontal = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    if width_px > 1:
        edge = np.asarray(Image.fromarray(edge).convert("L").filter(ImageFilter.MaxFilter(2 * width_px - 1))) > 0
    return edge


def _enlargement(shape_hw: tuple[int, ...]) -> int:
    """Integer factor that enlarges a small image to about the minimum display size."""
    return max(1, round(_MIN_LONG_SIDE_PX / max(shape_hw)))


def _enlarge(image: np.ndarray, factor: int, resampling: Image.Resampling) -> Image.Image:
    picture = Image.fromarray(image)
    return picture if factor == 1 else picture.resize((picture.width * factor, picture.height * factor), resampling)


def _font_px(size_wh: tuple[int, int]) -> int:
    """Font size that suits an image."""
    return int(min(max(max(size_wh) / 36, 14), 64))
