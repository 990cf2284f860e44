"""Class colours: a class index has the same colour in every vocabulary."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

BACKGROUND_RGB = (128, 128, 128)
# Hand-picked: bright enough to overlay on a photograph, nameable, and distinct under common colour deficiencies.
_FIRST_HEX = (
    "e6312d", "2f7fe0", "f7c922", "2fae4e", "9a46d6", "f58a1f",
    "1fc8cf", "f266b0", "8a5a2b", "a4d826", "1b3f9c", "0f7f72",
)  # fmt: skip
_GREEDY_COUNT = 256
_LEVELS = np.arange(0, 256, 15)


def palette(num_labels: int, background: bool = False) -> np.ndarray:
    """Perceptually distinct colours ``(num_labels, 3)`` uint8 RGB.

    The first twelve are fixed; each one up to 256 is the one farthest in OKLab (Ottosson 2020) from all
    before it and from the background's grey. Beyond that, hues advance by the golden angle at varying
    lightness: consecutive colours differ, but among a thousand some are alike.

    Args:
        num_labels: number of colours.
        background: whether label 0 is background (grey); classes then start at label 1.
    """
    if num_labels < 0:
        raise ValueError(f"num_labels must not be negative; got {num_labels}")
    grey = np.array([BACKGROUND_RGB], dtype=np.uint8)[: int(background and num_labels > 0)]
    num_classes = num_labels - len(grey)
    greedy = _greedy_colours()[:num_classes]
    return np.concatenate([grey, greedy, _golden_colours(num_classes - len(greedy))])


def channels(rgb: np.ndarray) -> tuple[int, int, int]:
    """A colour ``(3,)`` uint8 as Pillow's tuple."""
    red, green, blue = rgb.tolist()
    return red, green, blue


def hex_colour(rgb: np.ndarray) -> str:
    """``"#rrggbb"`` of one colour ``(3,)`` uint8."""
    return "#" + "".join(f"{int(channel):02x}" for channel in rgb)


def heat_colours(values: np.ndarray) -> np.ndarray:
    """Maps values in ``[0, 1]`` to colours ``(..., 3)`` uint8, dark violet to bright yellow, lightness linear."""
    positions = np.linspace(0, 1, len(_HEAT_STOPS))
    channels = [np.interp(values, positions, stops) for stops in _HEAT_STOPS.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


# Ten evenly spaced colours of matplotlib's "inferno" (van der Walt and Smith 2015, CC0) from 0.08 to 0.98.
_HEAT_STOPS = np.array(
    [
        (16, 9, 45), (57, 9, 99), (98, 20, 110), (140, 35, 105), (179, 50, 90),
        (215, 75, 63), (240, 111, 32), (251, 155, 6), (248, 205, 55), (245, 249, 146),
    ],
    dtype=np.float64,
)  # fmt: skip


@lru_cache(maxsize=1)
def _greedy_colours() -> np.ndarray:
    """``(256, 3)`` uint8: the fixed colours, then greedily the farthest remaining one."""
    first = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in _FIRST_HEX], dtype=np.uint8)
    candidates = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS), axis=-1).reshape(-1, 3).astype(np.uint8)
    lab = _oklab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = (lab[:, 0] > 0.35) & (lab[:, 0] < 0.9) & (chroma > 0.06)
    candidates, lab = candidates[usable], lab[usable]
    chosen = list(first)
    distance = np.full(len(lab), np.inf)
    for colour in _oklab(np.concatenate([first, [BACKGROUND_RGB]])):
        distance = np.minimum(distance, ((lab - colour) ** 2).sum(axis=1))
    while len(chosen) < _GREEDY_COUNT:
        best = int(distance.argmax())
        chosen.append(candidates[best])
        distance = np.minimum(distance, ((lab - lab[best]) ** 2).sum(axis=1))
    return np.array(chosen, dtype=np.uint8)


def _golden_colours(count: int) -> np.ndarray:
    """``(count, 3)`` uint8 with hues advancing by the golden angle, in three chromas and seven lightnesses."""
    index = np.arange(max(count, 0))
    hue = index * np.pi * (3 - np.sqrt(5))
    chroma = 0.10 + 0.05 * (index % 3)
    lightness = 0.45 + 0.06 * (index % 7)
    return _from_oklab(np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1))


_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB ``(N, 3)`` uint8 to OKLab, lightness in ``[0, 1]``."""
    value = rgb.astype(np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def _from_oklab(lab: np.ndarray) -> np.ndarray:
    """OKLab ``(N, 3)`` to sRGB uint8, clipped to the gamut."""
    linear = ((lab @ np.linalg.inv(_TO_LAB).T) ** 3) @ np.linalg.inv(_TO_LMS).T
    linear = np.clip(linear, 0, 1)
    value = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (value * 255).round().astype(np.uint8)
