"""Defects on surfaces of the world, each with a mask of the pixels it changed.

Lengths are in units (pixels of a 112 px picture), so that the same seed looks alike at every size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ovperc.core.naming import suggest
from ovperc.data.world.shapes import coverage

Rng = np.random.Generator
_TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)
_SUPERSAMPLE = 4
_VISIBLE = 10.0  # grey levels, of 255
_ATTEMPTS = 16


@dataclass(frozen=True)
class Surface:
    """A flawless product before it is photographed.

    Attributes:
        image: ``(S, S, 3)`` float32 RGB, 0..255.
        part: ``(S, S)`` float32 in 0..1, how much of each pixel the product covers.
        behind: ``(S, S, 3)`` float32, what is seen where the product is missing.
        unit: pixels per unit of length.
    """

    image: np.ndarray
    part: np.ndarray
    behind: np.ndarray
    unit: float


@dataclass(frozen=True)
class Damaged:
    """A product with a defect.

    Attributes:
        image: ``(S, S, 3)`` float32 RGB, 0..255.
        mask: ``(S, S)`` bool, the pixels that the defect changed.
    """

    image: np.ndarray
    mask: np.ndarray


class _Brush:
    """Random places, outlines and inks on one surface."""

    def __init__(self, surface: Surface, rng: Rng) -> None:
        self.surface, self.rng, self.unit = surface, rng, surface.unit
        self.side = len(surface.image)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def place(self, margin: float) -> np.ndarray:
        """A random point ``(x, y)`` of the product, ``margin`` units from its border where there is one so deep."""
        inside = np.pad((self.surface.part > 0.5).astype(np.uint8), 1)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
        rows, columns = np.nonzero(depth >= min(margin * self.unit, 0.9 * float(depth.max())))
        pick = int(self.rng.integers(len(rows)))
        return np.array([columns[pick] + 0.5, rows[pick] + 0.5])

    def blob(self, centre: np.ndarray, radius: float, rough: float = 0.3) -> np.ndarray:
        """Coverage of an irregular round region, ``(S, S)`` float32."""
        turns = np.arange(1, 6)[:, None]
        waves = self.rng.normal(0, rough, (5, 1)) / turns * np.sin(turns * _TURN + self.rng.uniform(0, 6.28, (5, 1)))
        stretch, tilt = self.between(0.65, 1.0), self.between(0, np.pi)
        outline = (1 + waves.sum(0)).clip(0.35, 1.7)[:, None] * np.stack([np.cos(_TURN), stretch * np.sin(_TURN)], 1)
        turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        return self.polygon(outline * radius * self.unit @ turn.T + centre)

    def polygon(self, points: np.ndarray) -> np.ndarray:
        """Coverage of a polygon given in pixels."""
        return coverage([points], 0, 0, self.side, self.side)

    def stroke(self, points: np.ndarray, width: float) -> np.ndarray:
        """Coverage of a line through points given in pixels, ``width`` units wide."""
        large = np.zeros((self.side * _SUPERSAMPLE,) * 2, np.uint8)
        fixed = [np.round(points * _SUPERSAMPLE * 16).astype(np.int32)]
        thickness = max(1, round(width * self.unit * _SUPERSAMPLE))
        cv2.polylines(large, fixed, False, 255, thickness, cv2.LINE_AA, 4)
        return cv2.resize(large, (self.side,) * 2, interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def soften(self, alpha: np.ndarray, sigma: float) -> np.ndarray:
        return cv2.GaussianBlur(alpha, (0, 0), sigma * self.unit)

    def local_colour(self, alpha: np.ndarray) -> np.ndarray:
        """Mean colour under a region, ``(3,)`` float32."""
        weight = alpha * self.surface.part
        return (self.surface.image * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-6)

    def ink(self, alpha: np.ndarray) -> np.ndarray:
        """A colour that stands out from what lies under a region, ``(3,)`` float32."""
        here = self.local_colour(alpha)
        inks = self.rng.uniform(15, 245, (6, 3)).astype(np.float32)
        far = np.abs(inks - here).mean(1)
        return inks[int(np.argmax(far > 70))] if (far > 70).any() else inks[int(far.argmax())]

    def paint(self, alpha: np.ndarray, colour: np.ndarray) -> np.ndarray:
        """The image with a colour, or another image, laid over it."""
        return self.surface.image + (colour - self.surface.image) * alpha[..., None]

    def walk(self, start: np.ndarray, heading: float, steps: int, step: float, jitter: float) -> np.ndarray:
        """A broken line ``(steps + 1, 2)`` in pixels that turns a little at every step."""
        headings = heading + np.cumsum(self.rng.normal(0, jitter, steps))
        lengths = step * self.unit * self.rng.uniform(0.6, 1.4, steps)
        moves = np.stack([np.cos(headings), np.sin(headings)], 1) * lengths[:, None]
        return np.concatenate([start[None], start + np.cumsum(moves, 0)])


Painted = tuple[np.ndarray, np.ndarray]


def _scratch(b: _Brush) -> Painted:
    heading = b.between(0, 2 * np.pi)
    alpha = np.zeros(b.surface.part.shape, np.float32)
    for _ in range(int(b.rng.integers(1, 4))):
        steps = int(b.rng.integers(6, 13))
        line = b.walk(b.place(6), heading + b.rng.normal(0, 0.12), steps, 3.5, 0.06)
        alpha = np.maximum(alpha, b.stroke(line, b.between(1.3, 2.4)))
    light = b.local_colour(alpha).mean() < 150
    tone = np.float32([b.between(215, 250)] * 3 if light else [b.between(20, 70)] * 3)
    return b.paint(alpha * b.between(0.65, 0.95), tone), alpha


def _stain(b: _Brush) -> Painted:
    alpha = b.soften(b.blob(b.place(7), b.between(7, 14), 0.45), b.between(0.8, 1.8))
    tints = ((0.5, 0.36, 0.2), (0.25, 0.28, 0.5), (0.3, 0.5, 0.3), (0.6, 0.28, 0.28), (0.35, 0.33, 0.3))
    tint = np.float32(tints[int(b.rng.integers(len(tints)))]) * b.between(0.75, 1.15)
    return b.paint(alpha * b.between(0.6, 0.95), b.surface.image * tint), alpha


def _hole(b: _Brush) -> Painted:
    alpha = b.blob(b.place(9), b.between(5, 10), 0.25)
    rim = np.clip(b.soften(alpha, 1.2) - 0.3, 0, 1) * (1 - alpha)
    opened = b.paint(alpha, b.surface.behind * 0.7)
    return opened * (1 - 0.5 * rim[..., None]), np.maximum(alpha, rim)


def _specks(b: _Brush) -> Painted:
    middle, spread = b.place(9), b.between(4, 9) * b.unit
    alpha = np.zeros(b.surface.part.shape, np.float32)
    for _ in range(int(b.rng.integers(5, 13))):
        alpha = np.maximum(alpha, b.blob(middle + b.rng.normal(0, spread, 2), b.between(1.4, 3.0), 0.2))
    return b.paint(alpha * b.between(0.8, 1.0), b.ink(alpha)), alpha


def _thread(b: _Brush) -> Painted:
    heading, bend = b.between(0, 2 * np.pi), b.rng.normal(0, 0.1)
    steps = int(b.rng.integers(14, 28))
    turning = heading + bend * np.arange(steps) + 0.35 * np.sin(np.arange(steps) * b.between(0.2, 0.5))
    moves = np.stack([np.cos(turning), np.sin(turning)], 1) * 2.6 * b.unit
    line = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, 0)])
    alpha = b.stroke(line - line.mean(0) + b.place(12), b.between(1.1, 2.0))
    return b.paint(alpha, b.ink(alpha)), alpha


def _rub(b: _Brush) -> Painted:
    alpha = b.soften(b.blob(b.place(8), b.between(8, 15), 0.4), 0.8)
    flat = cv2.GaussianBlur(b.surface.image, (0, 0), 4 * b.unit)
    pale = flat * 0.45 + np.float32([235, 232, 226]) * 0.55
    worn = pale if b.rng.random() < 0.6 else flat * b.between(0.5, 0.65)
    return b.paint(alpha * b.between(0.7, 0.95), worn), alpha


def _crack(b: _Brush) -> Painted:
    width, heading = b.between(1.2, 2.2), b.between(0, 2 * np.pi)
    trunk = b.walk(b.place(5), heading, int(b.rng.integers(8, 15)), 3.4, 0.45)
    alpha = b.stroke(trunk, width)
    for _ in range(int(b.rng.integers(1, 4))):
        at = int(b.rng.integers(1, len(trunk) - 1))
        side = heading + b.rng.choice([-1, 1]) * b.between(0.5, 1.2)
        twig = b.walk(trunk[at], side, int(b.rng.integers(3, 7)), 3.0, 0.4)
        alpha = np.maximum(alpha, b.stroke(twig, width * 0.75))
    dark = b.surface.image * 0.12 if b.local_colour(alpha).mean() > 70 else np.float32([150, 148, 144])
    return b.paint(alpha * b.between(0.8, 1.0), dark), alpha


def _missing_part(b: _Brush) -> Painted:
    inside = (b.surface.part > 0.5).astype(np.uint8)
    border = np.argwhere(cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) & inside)
    rim = border[int(b.rng.integers(len(border)))][::-1] + 0.5
    bite = b.blob(rim, b.between(9, 16), 0.25) * b.surface.part
    return b.paint(bite, b.surface.behind), bite


def _dent(b: _Brush) -> Painted:
    centre, radius = b.place(9), b.between(7, 13)
    alpha = b.soften(b.blob(centre, radius, 0.2), 1.0)
    axis = np.arange(b.side) + 0.5
    light = b.between(0, 2 * np.pi)
    lean = ((axis - centre[0])[None] * np.cos(light) + (axis - centre[1])[:, None] * np.sin(light)) / (radius * b.unit)
    shade = (np.clip(lean, -1, 1) * b.between(0.5, 0.8)).astype(np.float32)
    lit = np.where(shade > 0, shade, 0)[..., None] * 0.9
    shaded = b.surface.image * (1 + np.minimum(shade, 0))[..., None]
    return b.paint(alpha, shaded + (255 - shaded) * lit), alpha


def _burn(b: _Brush) -> Painted:
    centre, radius = b.place(8), b.between(6, 12)
    alpha = b.soften(b.blob(centre, radius, 0.45), 1.6)
    soot = np.float32([30, 24, 20]) + 8 * b.rng.standard_normal((b.side, b.side, 1)).astype(np.float32)
    scorched = b.surface.image * np.float32([0.62, 0.45, 0.3])
    heart = np.clip(alpha * 1.6 - 0.6, 0, 1)[..., None]
    reach = np.clip(alpha * 1.5, 0, 1)
    return b.paint(reach, scorched + (soot - scorched) * heart), reach


def _misplaced(b: _Brush) -> Painted:
    centre, radius = b.place(10), b.between(9, 16)
    corners = np.sort(b.rng.uniform(0, 2 * np.pi, 4)) + b.between(0, 0.4)
    corners = np.pi / 2 * np.arange(4) + 0.35 * np.sin(corners) + b.between(0, np.pi)
    alpha = b.polygon(np.stack([np.cos(corners), np.sin(corners)], 1) * radius * b.unit + centre)
    source, quarter = b.place(12), b.between(0.3, 0.7) * np.pi
    matrix = cv2.getRotationMatrix2D(source.tolist(), np.degrees(quarter), b.between(1.5, 2.1))
    matrix[:, 2] += centre - source
    piece = cv2.warpAffine(b.surface.image, matrix, (b.side, b.side), borderMode=cv2.BORDER_REFLECT)
    level = 1.3 if b.local_colour(alpha).mean() < 120 else 0.74
    edge = np.clip(b.soften(alpha, 0.8) * (1 - b.soften(alpha, 0.8)) * 4, 0, 1)[..., None]
    return b.paint(alpha, piece * level * (1 - 0.4 * edge)), alpha


_PAINTERS: dict[str, Callable[[_Brush], Painted]] = {
    "scratch": _scratch,
    "stain": _stain,
    "hole": _hole,
    "specks": _specks,
    "thread": _thread,
    "rub": _rub,
    "crack": _crack,
    "missing part": _missing_part,
    "dent": _dent,
    "burn": _burn,
    "misplaced": _misplaced,
}
DEFECTS: tuple[str, ...] = tuple(_PAINTERS)
"""Kinds of defect; ``missing part`` needs a product with a border inside the picture."""


def add_defect(kind: str, surface: Surface, rng: Rng) -> Damaged:
    """Puts one defect on a product.

    Draws again, a fixed number of times at most, where a defect would be too small or too faint to be seen.

    Args:
        kind: one of ``DEFECTS``.
        surface: the flawless product.
        rng: source of randomness.

    Raises:
        ValueError: an unknown kind, or a missing part of a product without a border.
    """
    if kind not in _PAINTERS:
        raise ValueError(f"unknown kind of defect {kind!r}; {suggest(kind, _PAINTERS)}")
    if kind == "missing part" and surface.part.min() > 0.5:
        raise ValueError("kind 'missing part' needs a product with a border; a texture fills the whole picture")
    best, best_seen = None, -1.0
    for _ in range(_ATTEMPTS):
        image, region = _PAINTERS[kind](_Brush(surface, rng))
        damaged, seen = _confine(surface, image, region)
        area = float(damaged.mask.mean())
        if 0.004 <= area <= 0.15 and seen >= 3 * _VISIBLE:
            return damaged
        merit = seen * min(area, 0.004)
        if merit > best_seen:
            best, best_seen = damaged, merit
    assert best is not None
    return best


def _confine(surface: Surface, image: np.ndarray, region: np.ndarray) -> tuple[Damaged, float]:
    """Keeps a defect on the product; its mask, and by how many grey levels it differs there on average.

    Small unchanged places inside the defect, such as where a dent turns from light to dark, belong to the mask.
    """
    touched = np.clip(region * 50, 0, 1) * surface.part
    image = np.clip(surface.image + (image - surface.image) * touched[..., None], 0, 255)
    change = np.abs(image - surface.image).max(2)
    side = 2 * round(4 * surface.unit) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    visible = cv2.morphologyEx((change > _VISIBLE).astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    mask = (visible > 0) & (region > 0.2) & (surface.part > 0.2)
    return Damaged(image, mask), float(change[mask].mean()) if mask.any() else 0.0
