"""Textures of the materials, drawn with wide variety so that photographs of them are recognised too.

A texture is ``(side, side, 3)`` uint8 RGB. ``unit`` is the number of pixels per pixel of a 112 px scene:
every length is given in such units, so the same seed looks alike at 112, 224 and 448 px.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from ovperc.data.world.vocabulary import MATERIALS

TILE_UNITS = 256
Rng = np.random.Generator
RGB = tuple[float, float, float]


class Canvas:
    """Noise and coordinates for one tile.

    Args:
        rng: source of randomness.
        unit: pixels per unit.
    """

    def __init__(self, rng: Rng, unit: float) -> None:
        self.rng = rng
        self.unit = unit
        self.side = round(TILE_UNITS * unit)
        axis = np.arange(self.side, dtype=np.float32) / unit
        self.y, self.x = np.meshgrid(axis, axis, indexing="ij")

    def fractal(self, exponent: float) -> np.ndarray:
        """Noise of zero mean and unit variance whose spectrum falls as ``frequency ** -exponent``."""
        spectrum = np.fft.rfft2(self.rng.standard_normal((TILE_UNITS, TILE_UNITS)).astype(np.float32))
        radius = np.hypot(np.fft.fftfreq(TILE_UNITS)[:, None], np.fft.rfftfreq(TILE_UNITS)[None])
        radius[0, 0] = 1.0
        return self._fit(np.fft.irfft2(spectrum * radius**-exponent, s=(TILE_UNITS, TILE_UNITS)))

    def grain(self, sigma_x: float = 0.0, sigma_y: float = 0.0) -> np.ndarray:
        """White noise, blurred along each axis by so many units; zero mean, unit variance."""
        noise = self.rng.standard_normal((TILE_UNITS, TILE_UNITS)).astype(np.float32)
        if sigma_x or sigma_y:
            noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=max(sigma_x, 0.01), sigmaY=max(sigma_y, 0.01))
        return self._fit(noise)

    def _fit(self, noise: np.ndarray) -> np.ndarray:
        noise = (noise - noise.mean()) / noise.std()
        if self.side != TILE_UNITS:
            noise = cv2.resize(noise, (self.side, self.side), interpolation=cv2.INTER_CUBIC)
        return noise.astype(np.float32)

    def between(self, low: float, high: float) -> float:
        """A uniform random number."""
        return float(self.rng.uniform(low, high))

    def one_of(self, *choices: tuple[RGB, RGB]) -> tuple[RGB, RGB]:
        """One of the given pairs of colours."""
        return choices[int(self.rng.integers(len(choices)))]


def _blend(dark: RGB, light: RGB, amount: np.ndarray) -> np.ndarray:
    amount = np.clip(amount, 0, 1)[..., None]
    return np.float32(dark) * (1 - amount) + np.float32(light) * amount


def _grass(c: Canvas) -> np.ndarray:
    dark, light = c.one_of(
        ((32, 62, 18), (120, 170, 70)), ((45, 80, 25), (150, 185, 85)), ((60, 75, 30), (165, 170, 90))
    )
    image = _blend(dark, light, 0.22 + 0.1 * c.fractal(1.2) + 0.08 * c.grain())
    lean, spread = c.between(-1.6, 1.6), c.between(0.35, 1.6)
    length, width = c.between(5, 14), c.between(0.8, 1.7)
    count = int(TILE_UNITS**2 / (length * width) * 1.1)
    start = c.rng.uniform(-8, TILE_UNITS + 8, (count, 2))
    angle = np.pi / 2 + lean + spread * c.rng.standard_normal(count)
    reach = length * c.rng.uniform(0.5, 1.3, count)
    end = start + np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None]
    shade = _blend(dark, light, np.linspace(0, 1, count) * 0.55 + 0.25 * c.rng.standard_normal(count) + 0.3)
    ends = np.round(np.stack([start, end], 1) * c.unit * 16).astype(int)
    widths = np.maximum(1, np.round(width * c.unit * c.rng.uniform(0.6, 1.5, count))).astype(int)
    for (p, q), colour, thickness in zip(ends.tolist(), shade.tolist(), widths.tolist(), strict=True):
        cv2.line(image, p, q, colour, thickness, cv2.LINE_AA, 4)
    return image


def _sand(c: Canvas) -> np.ndarray:
    dark, light = c.one_of(((190, 160, 110), (232, 208, 165)), ((205, 175, 125), (240, 222, 185)))
    dunes = np.sin(c.y * c.between(0.25, 0.6) + 2.5 * c.fractal(1.8)) * c.between(0, 0.22)
    return _blend(dark, light, 0.5 + 0.2 * c.fractal(1.6) + 0.2 * c.grain() + dunes)


def _water(c: Canvas) -> np.ndarray:
    dark, light = c.one_of(
        ((15, 60, 105), (115, 180, 205)), ((10, 75, 95), (110, 190, 190)), ((30, 60, 90), (150, 185, 205))
    )
    phase = c.y * c.between(0.4, 0.7) + 2.2 * c.fractal(1.6) + 0.6 * c.grain(9, 2)
    return _blend(dark, light, 0.4 + 0.33 * np.sin(phase) + 0.1 * c.grain(5, 1))


def _brick(c: Canvas) -> np.ndarray:
    height = c.between(6, 15)
    width = height * c.between(1.9, 3.6)
    joint = max(1.2, height * c.between(0.1, 0.2))
    bend = c.between(0, 1.0) * c.fractal(1.8) * 0.4
    y, x = c.y + bend, c.x + bend
    row = np.floor(y / height).astype(int)
    shifted = x + (row % 2) * width * c.between(0.4, 0.6)
    column = np.floor(shifted / width).astype(int)
    tone = c.rng.standard_normal((row.max() - row.min() + 2, column.max() - column.min() + 2)).astype(np.float32)
    dark, light = c.one_of(
        ((135, 55, 40), (190, 98, 72)), ((120, 62, 45), (170, 105, 80)), ((110, 75, 65), (160, 120, 105)),
        ((150, 70, 45), (205, 125, 90)),
    )  # fmt: skip
    variety = c.between(0.08, 0.35)
    face = _blend(dark, light, 0.5 + variety * tone[row - row.min(), column - column.min()] + 0.12 * c.fractal(1.0))
    inside = np.minimum.reduce([y - row * height, (row + 1) * height - y, shifted - column * width,
                                (column + 1) * width - shifted])  # fmt: skip
    mortar = np.clip((joint / 2 - inside) * c.unit + 0.5, 0, 1)[..., None]
    light_mortar = c.rng.random() < 0.75
    base = np.float32((198, 190, 178) if light_mortar else (75, 68, 64)) * c.between(0.85, 1.1)
    return face * (1 - mortar) + (base + 8 * c.grain()[..., None]) * mortar


def _wood(c: Canvas) -> np.ndarray:
    dark, light = c.one_of(
        ((105, 65, 35), (180, 125, 75)), ((70, 40, 22), (135, 85, 50)), ((150, 110, 65), (215, 175, 120)),
        ((60, 32, 20), (110, 66, 40)), ((135, 70, 35), (195, 120, 65)),
    )  # fmt: skip
    rings = np.sin((c.y + 10 * c.fractal(2.0)) * c.between(0.2, 0.5))
    fibre = c.grain(c.between(18, 40), c.between(0.6, 1.4))
    image = _blend(dark, light, 0.5 + c.between(0.08, 0.24) * rings + c.between(0.1, 0.24) * fibre)
    if c.rng.random() < 0.6:
        plank = c.between(24, 70)
        number = np.floor(c.y / plank).astype(int)
        image *= 1 + 0.09 * c.rng.standard_normal(number.max() + 1).astype(np.float32)[number][..., None]
        image[(c.y - number * plank) < 1.0] *= 0.5
    return image


def _sky(c: Canvas) -> np.ndarray:
    blue, cloud = c.one_of(
        ((95, 150, 220), (235, 240, 248)), ((70, 120, 200), (225, 232, 245)), ((120, 165, 215), (215, 222, 230)),
        ((35, 60, 110), (120, 140, 175)), ((150, 180, 220), (245, 236, 225)), ((60, 85, 130), (190, 175, 185)),
    )  # fmt: skip
    clear = c.rng.random() < 0.35
    slope = (c.y / TILE_UNITS - 0.5) * c.between(-0.5, 0.7)
    cover = c.between(-0.05, 0.5)
    clouds = c.fractal(c.between(1.9, 2.4)) * (0.06 if clear else 0.4)
    return _blend(blue, cloud, cover + slope + clouds) + 1.5 * c.grain()[..., None]


def _snow(c: Canvas) -> np.ndarray:
    shadow = (205, 214, 232) if c.rng.random() < 0.6 else (216, 220, 228)
    return _blend(shadow, (252, 253, 255), 0.62 + 0.3 * c.fractal(c.between(1.6, 2.1)) + 0.06 * c.grain())


def _asphalt(c: Canvas) -> np.ndarray:
    level = c.between(-14, 16)
    image = _blend((55, 55, 59), (112, 112, 115), 0.42 + 0.26 * c.grain(0.5, 0.5) + 0.1 * c.fractal(1.2)) + level
    if c.rng.random() < 0.3:
        crack = np.exp(-np.abs(c.fractal(2.1)) * 40)[..., None]
        image = image * (1 - 0.6 * crack)
    return image


def _gravel(c: Canvas) -> np.ndarray:
    dark, light = c.one_of(
        ((92, 84, 78), (200, 194, 186)), ((105, 92, 80), (205, 190, 170)), ((80, 82, 86), (185, 188, 192))
    )
    image = np.broadcast_to(np.float32(dark) * 0.45, (c.side, c.side, 3)).copy()
    size = c.between(3.2, 8.5)
    count = int(TILE_UNITS**2 / (size * size) * 1.9)
    centre = c.rng.uniform(0, TILE_UNITS, (count, 2))
    radius = size * c.rng.uniform(0.55, 1.15, count)
    turns = np.sort(c.rng.uniform(0, 2 * np.pi, (count, 7)), 1)
    stretch = c.rng.uniform(0.65, 1.0, (count, 7)) * radius[:, None]
    rim = np.stack([np.cos(turns), np.sin(turns)], 2) * stretch[..., None]
    tone = np.clip(0.45 + 0.22 * c.rng.standard_normal(count), 0.05, 1)
    body = _blend(dark, light, tone)
    points = np.round((centre[:, None] + rim) * c.unit * 16).astype(np.int32)
    top = np.round((centre[:, None] + rim * 0.6 - 0.12 * size) * c.unit * 16).astype(np.int32)
    facet = np.clip(body * 1.13 + 6, 0, 255)
    shadow = np.round(0.14 * size * c.unit * 16).astype(np.int32)
    for outline, lit, colour, bright in zip(points, top, body.tolist(), facet.tolist(), strict=True):
        cv2.fillPoly(image, [outline + shadow], (float(dark[0]) * 0.4,) * 3, cv2.LINE_AA, 4)
        cv2.fillPoly(image, [outline], colour, cv2.LINE_AA, 4)
        cv2.fillPoly(image, [lit], bright, cv2.LINE_AA, 4)
    return image + 6 * c.grain()[..., None]


def _marble(c: Canvas) -> np.ndarray:
    light, vein = c.one_of(
        ((224, 220, 214), (110, 110, 122)), ((214, 205, 195), (120, 95, 80)), ((205, 212, 210), (80, 100, 100))
    )
    veins = np.exp(-np.abs(c.fractal(2.0)) * c.between(5, 9))
    return _blend(light, vein, veins * 0.85 + 0.06 * c.fractal(1.0))


def _lava(c: Canvas) -> np.ndarray:
    glow = np.exp(-np.abs(c.fractal(1.8)) * c.between(3.2, 5.5))
    return _blend((35, 18, 16), (255, c.between(95, 145), 20), glow * 1.2 - 0.1 + 0.05 * c.grain())


def _carpet(c: Canvas) -> np.ndarray:
    dark, light = c.one_of(
        ((105, 35, 85), (170, 90, 145)), ((95, 30, 60), (160, 80, 110)), ((85, 40, 100), (150, 95, 160))
    )
    pitch = c.between(0.8, 1.25)
    weave = np.sin(c.x * pitch) * np.sin(c.y * pitch)
    return _blend(dark, light, 0.5 + 0.3 * weave + 0.15 * c.grain() + 0.1 * c.fractal(1.6))


_PAINTERS: dict[str, Callable[[Canvas], np.ndarray]] = {
    "grass": _grass,
    "sand": _sand,
    "water": _water,
    "brick": _brick,
    "wood": _wood,
    "sky": _sky,
    "snow": _snow,
    "asphalt": _asphalt,
    "gravel": _gravel,
    "marble": _marble,
    "lava": _lava,
    "carpet": _carpet,
}
assert tuple(_PAINTERS) == MATERIALS


def paint(material: str, rng: Rng, unit: float = 1.0) -> np.ndarray:
    """Draws one tile of a material: ``(256 * unit, 256 * unit, 3)`` uint8 RGB."""
    if material not in _PAINTERS:
        raise ValueError(f"material must be one of {', '.join(MATERIALS)}; got {material!r}")
    return np.clip(_PAINTERS[material](Canvas(rng, unit)), 0, 255).astype(np.uint8)


class TextureBank:
    """Tiles of all materials, drawn once; training and evaluation use banks of different seeds.

    Args:
        seed: decides every tile.
        tiles: tiles per material.
        unit: pixels per unit (size of the scenes / 112).
    """

    def __init__(self, seed: int, tiles: int = 12, unit: float = 1.0) -> None:
        self.unit = unit
        self.tiles = [
            [paint(name, np.random.default_rng((seed, index, tile)), unit) for tile in range(tiles)]
            for index, name in enumerate(MATERIALS)
        ]

    def sample(self, material: int, rng: Rng, size_px: int) -> np.ndarray:
        """A random view of a material: other place, zoom, turn and exposure; ``(size, size, 3)`` float32."""
        tile = self.tiles[material][int(rng.integers(len(self.tiles[material])))]
        side = min(round(size_px * float(np.exp(rng.uniform(np.log(0.55), np.log(1.9))))), len(tile))
        y, x = rng.integers(0, len(tile) - side + 1, 2)
        view = np.rot90(tile[y : y + side, x : x + side], int(rng.integers(4)))
        if rng.random() < 0.5:
            view = view[:, ::-1]
        interpolation = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
        view = cv2.resize(np.ascontiguousarray(view), (size_px, size_px), interpolation=interpolation)
        return view.astype(np.float32) * rng.uniform(0.82, 1.14) + rng.normal(0, 5, 3).astype(np.float32)


@lru_cache(maxsize=4)
def texture_bank(seed: int, tiles: int = 12, unit: float = 1.0) -> TextureBank:
    """A bank, kept for the next scenes that ask for the same one."""
    return TextureBank(seed, tiles, unit)
