"""One scene of the world, with all its annotations, from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.materials import TextureBank, texture_bank
from ovperc.data.world.shapes import body, coverage, place
from ovperc.data.world.vocabulary import MATERIALS, Attributes

BASE_SIZE_PX = 112
MAX_OBJECTS = 6


@dataclass(frozen=True)
class SceneObject:
    """One object, as far as it can be seen.

    Attributes:
        attributes: its words.
        box: ``(x0, y0, x1, y1)`` of its visible pixels, right and bottom edges excluded.
        area_px: number of its visible pixels.
    """

    attributes: Attributes
    box: tuple[int, int, int, int]
    area_px: int


@dataclass(frozen=True)
class Scene:
    """An image and what is in it.

    Attributes:
        image: ``(S, S, 3)`` uint8 RGB.
        instances: ``(S, S)`` uint8; 0 where no object is, ``i + 1`` on ``objects[i]``.
        materials: ``(S, S)`` uint8 indices into `MATERIALS`, under the objects too.
        objects: the objects, in drawing order; one that is wholly covered has no area.
        grey: whether the image carries no colour, so that colour words say nothing about it.
    """

    image: np.ndarray
    instances: np.ndarray
    materials: np.ndarray
    objects: tuple[SceneObject, ...]
    grey: bool = False


@dataclass(frozen=True)
class SceneStyle:
    """What scenes are made of.

    Attributes:
        size_px: side of the image; every length of the scene scales with it.
        combinations: looks that objects may have.
        objects: fewest and most objects.
        materials: fewest and most materials.
        radius: smallest and largest object radius, in units of a 112 px scene.
        bank_seed: seed of the textures; training uses other textures than evaluation.
        bank_tiles: texture tiles per material.
        photometric: strength of exposure, tint, blur and noise; 0 for clean pictures.
        grey_share: share of pictures without colour.
        grey_ground: share of material regions without colour, so that texture has to tell them apart.
        grey_contrast: least and greatest standard deviation of greys, of 255, so that contrast does not tell
            materials apart either; left out, their own contrast varied a little.
    """

    size_px: int = BASE_SIZE_PX
    combinations: tuple[Attributes, ...] = field(default=HOLD_OUT.base, repr=False)
    objects: tuple[int, int] = (1, 5)
    materials: tuple[int, int] = (1, 3)
    radius: tuple[float, float] = (13.0, 27.0)
    bank_seed: int = 11
    bank_tiles: int = 12
    photometric: float = 1.0
    grey_share: float = 0.0
    grey_ground: float = 0.0
    grey_contrast: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.size_px < 32:
            raise ValueError(f"size_px must be at least 32 for objects to be seen; got {self.size_px}")
        if not self.combinations:
            raise ValueError("combinations is empty; give at least one look for objects")
        for name, most in (("objects", MAX_OBJECTS), ("materials", len(MATERIALS))):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= most:
                raise ValueError(f"{name} is (fewest, most) within 0..{most}; got {(low, high)}")
        if self.materials[0] < 1:
            raise ValueError(f"a scene needs at least one material; got materials={self.materials}")


def make_scene(seed: int | Sequence[int], style: SceneStyle | None = None) -> Scene:
    """Draws the scene that a seed stands for; the same on every machine."""
    style = style or SceneStyle()
    rng = np.random.default_rng(seed)
    image, materials = _ground(rng, style)
    instances = np.zeros(materials.shape, np.uint8)
    looks = _draw_objects(rng, style, image, instances)
    image, grey = _photograph(rng, style, image)
    return Scene(image, instances, materials, _annotate(instances, looks), grey)


@lru_cache(maxsize=4)
def _axes(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres in units, ``(S, S)`` each."""
    axis = (np.arange(size_px, dtype=np.float32) + 0.5) * (BASE_SIZE_PX / size_px)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return y, x


def _ground(rng: np.random.Generator, style: SceneStyle) -> tuple[np.ndarray, np.ndarray]:
    """Regions of materials with wavy borders: image ``(S, S, 3)`` float32 and material map."""
    bank = texture_bank(style.bank_seed, style.bank_tiles, style.size_px / BASE_SIZE_PX)
    low, high = style.materials
    count = low + min(int(rng.geometric(0.5)) - 1, high - low)
    chosen = rng.choice(len(MATERIALS), count, replace=False)
    image = _texture(bank, int(chosen[0]), rng, style)
    materials = np.full(image.shape[:2], chosen[0], np.uint8)
    for material in chosen[1:]:
        region = wavy_half(rng, style.size_px)
        image[region] = _texture(bank, int(material), rng, style)[region]
        materials[region] = material
    return image, materials


def _texture(bank: TextureBank, material: int, rng: np.random.Generator, style: SceneStyle) -> np.ndarray:
    """A view of a material, now and then without its colour; ``(S, S, 3)`` float32."""
    texture = bank.sample(material, rng, style.size_px)
    if style.grey_ground and rng.random() < style.grey_ground:
        weights = rng.dirichlet((6, 8, 4)).astype(np.float32)
        grey = texture @ weights
        contrast = _contrast(rng, style, grey, (0.5, 1.3))
        grey = (grey - grey.mean()) * contrast + grey.mean() + rng.uniform(-30, 30)
        texture = grey[..., None] + rng.normal(0, 6, 3).astype(np.float32)
    return texture


def _contrast(rng: np.random.Generator, style: SceneStyle, grey: np.ndarray, gain: tuple[float, float]) -> float:
    """By how much to stretch a grey picture about its mean; never so much that noise becomes texture."""
    if style.grey_contrast is None:
        return rng.uniform(*gain)
    return min(rng.uniform(*style.grey_contrast) / max(float(grey.std()), 1.0), 2.5)


def wavy_half(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """One side of a random wavy border through the picture; ``(S, S)`` bool."""
    y, x = _axes(size_px)
    angle = rng.uniform(0, 2 * np.pi)
    along, across = x - 56, y - 56
    distance = along * np.cos(angle) + across * np.sin(angle)
    track = across * np.cos(angle) - along * np.sin(angle)
    border = rng.uniform(-18, 24) + rng.uniform(1, 7) * np.sin(track * rng.uniform(0.03, 0.12) + rng.uniform(0, 6))
    return distance > border


def _draw_objects(
    rng: np.random.Generator, style: SceneStyle, image: np.ndarray, instances: np.ndarray
) -> list[Attributes]:
    """Draws objects into ``image`` and ``instances`` and returns their looks."""
    unit = style.size_px / BASE_SIZE_PX
    taken: list[tuple[float, float, float]] = []
    looks: list[Attributes] = []
    for _ in range(int(rng.integers(style.objects[0], style.objects[1] + 1))):
        look = style.combinations[int(rng.integers(len(style.combinations)))]
        radius = rng.uniform(*style.radius)
        for _attempt in range(8):
            x, y = rng.uniform(radius * 0.7, BASE_SIZE_PX - radius * 0.7, 2).tolist()
            if all(np.hypot(x - a, y - b) > 0.85 * (radius + r) for a, b, r in taken):
                taken.append((x, y, radius))
                looks.append(look)
                _draw_object(rng, look, (x * unit, y * unit), radius * unit, unit, image, instances, len(looks))
                break
    return looks


def _draw_object(
    rng: np.random.Generator,
    look: Attributes,
    centre: tuple[float, float],
    radius: float,
    unit: float,
    image: np.ndarray,
    instances: np.ndarray,
    label: int,
) -> None:
    reach = radius * 1.35
    x0, y0 = (max(0, int(value - reach)) for value in centre)
    x1, y1 = (min(len(image), int(value + reach) + 2) for value in centre)
    alpha = coverage(place(look.shape, rng, centre, radius), x0, y0, y1 - y0, x1 - x0)
    x = (np.arange(x0, x1, dtype=np.float32)[None] + 0.5 - centre[0]) / unit
    y = (np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5 - centre[1]) / unit
    x, y = np.broadcast_arrays(x, y)
    surface = body(look.colour, look.pattern, rng, x, y)
    light = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.22) * unit / radius
    surface = surface * (1 + slope * (x * np.cos(light) + y * np.sin(light)))[..., None]
    window = image[y0:y1, x0:x1]
    if rng.random() < 0.6:
        offset = max(1, round(2 * unit))
        shadow = cv2.GaussianBlur(alpha, (0, 0), 2 * unit)
        shadow = np.roll(shadow, (offset, offset), (0, 1))
        window *= (1 - 0.4 * shadow)[..., None]
    window += (surface - window) * alpha[..., None]
    instances[y0:y1, x0:x1][alpha > 0.5] = label


def _photograph(rng: np.random.Generator, style: SceneStyle, image: np.ndarray) -> tuple[np.ndarray, bool]:
    """Light, lens and sensor: ``(S, S, 3)`` uint8 RGB, and whether colour was taken out."""
    strength = style.photometric
    y, x = _axes(style.size_px)
    light = rng.uniform(0, 2 * np.pi)
    falloff = 1 + strength * rng.uniform(0, 0.3) * ((x - 56) * np.cos(light) + (y - 56) * np.sin(light)) / 79
    image = image * falloff[..., None] * (1 + strength * rng.uniform(-0.16, 0.12))
    grey = bool(rng.random() < style.grey_share)
    if grey:
        weights = rng.dirichlet((6, 8, 4)).astype(np.float32)
        image = np.repeat((image @ weights)[..., None], 3, axis=2)
        contrast, level = _contrast(rng, style, image, (0.45, 1.1)), rng.uniform(95, 150)
        image = (image - image.mean()) * contrast + level
    if strength and rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), strength * rng.uniform(0.35, 0.9) * style.size_px / BASE_SIZE_PX)
    if strength:
        noise = rng.standard_normal(image.shape[:2] if grey else image.shape, dtype=np.float32)
        image = image + (noise[..., None] if grey else noise) * np.float32(strength * rng.uniform(0.5, 6))
    return np.clip(image, 0, 255).astype(np.uint8), grey


def _annotate(instances: np.ndarray, looks: list[Attributes]) -> tuple[SceneObject, ...]:
    objects = []
    for index, look in enumerate(looks):
        mask = (instances == index + 1).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        objects.append(SceneObject(look, (x, y, x + width, y + height), int(cv2.countNonZero(mask))))
    return tuple(objects)
