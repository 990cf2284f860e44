"""Outlines and surface patterns of objects."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ovperc.data.world.vocabulary import COLOUR_RGB, COLOURS, PATTERNS, SHAPES

_TURN = np.linspace(0, 2 * np.pi, 48, endpoint=False)
UPRIGHT: frozenset[str] = frozenset({"square", "diamond"})
"""Shapes told apart by their tilt only; never turned far."""


def _disc(radius: float = 1.0) -> np.ndarray:
    return radius * np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


def _spokes(radii: np.ndarray) -> np.ndarray:
    angle = np.arange(len(radii)) * 2 * np.pi / len(radii) - np.pi / 2
    return radii[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _crescent() -> np.ndarray:
    outer_angle = np.linspace(np.pi * 0.28, np.pi * 1.72, 32)
    outer = np.stack([np.cos(outer_angle), np.sin(outer_angle)], 1)
    shift = 0.45
    radius = np.hypot(outer[0, 0] - shift, outer[0, 1])
    start = np.arctan2(outer[-1, 1], outer[-1, 0] - shift) % (2 * np.pi)
    stop = np.arctan2(outer[0, 1], outer[0, 0] - shift)
    inner_angle = np.linspace(start, stop, 24)
    inner = np.stack([shift + radius * np.cos(inner_angle), radius * np.sin(inner_angle)], 1)
    return np.concatenate([outer, inner]) + np.array([0.15, 0])


def _heart() -> np.ndarray:
    x = 16 * np.sin(_TURN) ** 3
    y = -(13 * np.cos(_TURN) - 5 * np.cos(2 * _TURN) - 2 * np.cos(3 * _TURN) - np.cos(4 * _TURN))
    return np.stack([x, y], 1) / 16.5


def _cross() -> np.ndarray:
    k = 0.33
    arms = [[-k, -1], [k, -1], [k, -k], [1, -k], [1, k], [k, k], [k, 1], [-k, 1], [-k, k], [-1, k], [-1, -k], [-k, -k]]
    return np.array(arms)


@lru_cache(maxsize=1)
def outlines() -> tuple[tuple[np.ndarray, ...], ...]:
    """For every shape of `SHAPES` its closed polygons ``(k, 2)``, about 1 in radius; a second one is a hole."""
    table = {
        "circle": (_disc(0.92),),
        "square": (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.8,),
        "triangle": (_spokes(np.full(3, 1.1)) + np.array([0, 0.2]),),
        "star": (_spokes(np.where(np.arange(10) % 2 == 0, 1.1, 0.46)),),
        "ring": (_disc(), _disc(0.5)),
        "cross": (_cross(),),
        "heart": (_heart(),),
        "crescent": (_crescent(),),
        "arrow": (np.array([[-1, -0.3], [0.1, -0.3], [0.1, -0.8], [1, 0], [0.1, 0.8], [0.1, 0.3], [-1, 0.3]]) * 1.05,),
        "hexagon": (_spokes(np.ones(6)),),
        "diamond": (np.array([[0, -1.15], [0.68, 0], [0, 1.15], [-0.68, 0]]),),
        "flower": ((0.72 + 0.3 * np.cos(5 * _TURN))[:, None] * _disc(),),
    }
    return tuple(table[name] for name in SHAPES)


def place(shape: int, rng: np.random.Generator, centre_xy: tuple[float, float], radius_px: float) -> list[np.ndarray]:
    """Polygons of a shape, turned and stretched a little, at a place of the image; ``(k, 2)`` pixels each."""
    free = SHAPES[shape] not in UPRIGHT and rng.random() < 0.3
    angle = rng.uniform(-np.pi, np.pi) if free else rng.uniform(-0.3, 0.3)
    stretch = rng.uniform(0.88, 1.12)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return [polygon * [stretch, 1 / stretch] * radius_px @ turn.T + centre_xy for polygon in outlines()[shape]]


def coverage(polygons: list[np.ndarray], x0: int, y0: int, height: int, width: int) -> np.ndarray:
    """Anti-aliased share of each pixel inside the polygons (even-odd rule); ``(height, width)`` float32, 0..1."""
    mask = np.zeros((height, width), np.uint8)
    fixed = [np.round((polygon - [x0, y0]) * 16).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(mask, fixed, 255, lineType=cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def body(colour: int, pattern: int, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The surface of an object before light falls on it.

    Args:
        colour: index into `COLOURS`.
        pattern: index into `PATTERNS`.
        rng: source of randomness.
        x: ``(h, w)`` float32, units from the centre of the object.
        y: likewise.

    Returns:
        ``(h, w, 3)`` float32 RGB, 0..255.
    """
    main = np.float32(COLOUR_RGB[COLOURS[colour]]) * rng.uniform(0.85, 1.1) + rng.normal(0, 8, 3)
    main = np.clip(main, 0, 255).astype(np.float32)
    ink = _second_colour(colour, main, rng)
    angle = rng.uniform(0, np.pi)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    kind = PATTERNS[pattern]
    if kind == "plain":
        return np.broadcast_to(main, (*x.shape, 3))
    if kind == "striped":
        period = rng.uniform(5, 8.5)
        amount = 0.5 + 2.2 * np.sin(u * 2 * np.pi / period)
    elif kind == "dotted":
        period = rng.uniform(6, 9)
        du, dv = u - period * np.round(u / period), v - period * np.round(v / period)
        amount = 0.5 + (period * 0.28 - np.hypot(du, dv))
    else:
        period = rng.uniform(8.5, 13)
        amount = 0.5 + 4 * np.sin(u * 2 * np.pi / period) * np.sin(v * 2 * np.pi / period)
    return main + (ink - main) * np.clip(amount, 0, 1)[..., None].astype(np.float32)


def _second_colour(colour: int, main: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A darker or lighter tone of the main colour, so that the colour word stays true."""
    name = COLOURS[colour]
    if name == "black":
        return np.full(3, rng.uniform(95, 125), np.float32)
    if name == "white":
        return np.full(3, rng.uniform(140, 165), np.float32)
    return main * 0.42 if rng.random() < 0.5 else main * 0.35 + np.float32(255 * 0.65)
