"""Random views of photographs for training: scale, aspect, place, mirror and colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

IGNORED = 255
_GREY = (127, 127, 127)


@dataclass(frozen=True)
class ViewStyle:
    """How views vary.

    Attributes:
        scale: bounds of the side of the cut square over the image's short side, drawn evenly in the logarithm; above 1
            the square reaches beyond the image.
        stretch: largest logarithm of width over height that is evened out.
        jitter: share of views whose colours change.
        grey: share of views without colour.
    """

    scale: tuple[float, float] = (0.4, 1.4)
    stretch: float = 0.3
    jitter: float = 0.8
    grey: float = 0.1


def random_view(
    image: np.ndarray, labels: np.ndarray | None, size_px: int, style: ViewStyle, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """A square view.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` uint8 class indices, ``IGNORED`` where unknown; None for images without.
        size_px: side of the view.
        style: how it varies.
        rng: decides.

    Returns:
        ``(size_px, size_px, 3)`` uint8, grey outside the image, and its labels, ``IGNORED`` there.
    """
    height, width = image.shape[:2]
    side = min(height, width) * np.exp(rng.uniform(*np.log(style.scale)))
    half_stretch = np.exp(rng.uniform(-style.stretch, style.stretch) / 2)
    box_h, box_w = side / half_stretch, side * half_stretch
    y, x = (_place(length, box, rng) for length, box in ((height, box_h), (width, box_w)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    scale_x, scale_y = box_w / size_px, box_h / size_px
    # maps output pixels to input pixels, as WARP_INVERSE_MAP asks
    matrix = np.array([[flip * scale_x, 0, x + (box_w if flip < 0 else 0)], [0, scale_y, y]])
    matrix[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
    if max(scale_x, scale_y) > 1.5:  # shrink first: a warp alone would alias
        factor = 1 / max(scale_x, scale_y)
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        shrunk = np.array([[image.shape[1] / width], [image.shape[0] / height]])
        reduced = shrunk * matrix + np.array([[0, 0, 1], [0, 0, 1]]) * (0.5 * shrunk - 0.5)
    else:
        reduced = matrix
    view = cv2.warpAffine(
        image, reduced, (size_px, size_px), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=_GREY
    )
    if labels is not None:
        labels = cv2.warpAffine(
            labels, matrix, (size_px, size_px), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderValue=IGNORED
        )
    return vary_colours(view, style, rng), labels


def vary_colours(image: np.ndarray, style: ViewStyle, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation, tint and gamma; ``(H, W, 3)`` uint8 in and out."""
    if rng.random() < style.jitter:
        value = image.astype(np.float32) / 255 * rng.uniform(0.6, 1.4)
        mean = value.mean()
        value = (value - mean) * rng.uniform(0.6, 1.4) + mean
        grey = value.mean(axis=2, keepdims=True)
        value = ((value - grey) * rng.uniform(0.4, 1.6) + grey) * rng.uniform(0.9, 1.1, 3).astype(np.float32)
        value = value.clip(0, 1) ** (rng.uniform(0.6, 1.6) if rng.random() < 0.2 else 1.0)
        image = (255 * value + 0.5).astype(np.uint8)
    if rng.random() < style.grey:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return image


def _place(length: int, box: float, rng: np.random.Generator) -> float:
    """First coordinate of a box on an axis: anywhere inside, or, where it is longer, with the image anywhere in it."""
    return rng.uniform(min(0.0, length - box), max(0.0, length - box))
