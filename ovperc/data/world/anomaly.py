"""``world-anomaly``: products of the world, flawless and with defects.

Categories and kinds of defect of training and of test are disjoint, so what is learned on one side is used on
products and damage never met. Half of the categories are textures, half are one object on a ground.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from torch.utils.data import Dataset

from ovperc.core.naming import suggest
from ovperc.data.anomaly.records import GOOD, AnomalyRecord, AnomalySample
from ovperc.data.world.defects import Surface, add_defect
from ovperc.data.world.materials import paint
from ovperc.data.world.scene import BASE_SIZE_PX
from ovperc.data.world.shapes import body, coverage, outlines
from ovperc.data.world.vocabulary import COLOURS, MATERIALS, PATTERNS, SHAPES, Attributes
from ovperc.registry import DATASETS

Side = Literal["train", "test"]
TRAIN_KINDS: tuple[str, ...] = ("scratch", "stain", "hole", "specks", "thread", "rub")
TEST_KINDS: tuple[str, ...] = ("crack", "dent", "burn", "misplaced", "missing part")
_STREAMS = {"normal": 0, GOOD: 1}


@dataclass(frozen=True)
class Product:
    """What one category shows.

    Attributes:
        category: its name.
        material: of the texture, or of the ground under the object.
        look: of the object; None for a texture.
    """

    category: str
    material: str
    look: Attributes | None = None

    @property
    def words(self) -> str:
        """The category as a method is told it: ``"wood"``, ``"striped red star"``."""
        return self.category if self.look is None else str(self.look)


def _object(words: str, material: str) -> Product:
    pattern, colour, shape = words.split()
    return Product(shape, material, Attributes(COLOURS.index(colour), PATTERNS.index(pattern), SHAPES.index(shape)))


TRAIN_PRODUCTS: tuple[Product, ...] = (
    *(Product(name, name) for name in ("brick", "sand", "asphalt", "grass", "snow", "water")),
    _object("plain red circle", "asphalt"),
    _object("striped green triangle", "snow"),
    _object("dotted yellow star", "water"),
    _object("checkered purple cross", "sand"),
    _object("plain orange heart", "snow"),
    _object("striped white arrow", "asphalt"),
)
TEST_PRODUCTS: tuple[Product, ...] = (
    *(Product(name, name) for name in ("wood", "marble", "carpet", "sky")),
    _object("plain cyan square", "wood"),
    _object("striped purple ring", "marble"),
    _object("dotted pink hexagon", "sky"),
    _object("checkered green flower", "marble"),
    _object("plain yellow crescent", "carpet"),
    _object("striped black diamond", "sky"),
)
PRODUCTS: Mapping[Side, tuple[Product, ...]] = {"train": TRAIN_PRODUCTS, "test": TEST_PRODUCTS}
KINDS: Mapping[Side, tuple[str, ...]] = {"train": TRAIN_KINDS, "test": TEST_KINDS}


def kinds_of(product: Product, kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds that a product can have: textures have no parts to miss, a plain surface none to be misplaced."""
    if product.look is None:
        return tuple(kind for kind in kinds if kind != "missing part")
    return tuple(kind for kind in kinds if kind != "misplaced" or PATTERNS[product.look.pattern] != "plain")


@DATASETS.register_module()
class WorldAnomaly(Dataset):
    """Products by category, flawless and with defects; image ``i`` depends on the arguments and ``i`` only.

    Args:
        split: ``test``, or ``train`` for the categories and kinds that training may use.
        good: flawless test images of each category.
        per_kind: images of each kind of defect and category.
        normal: flawless training images of each category, for few-shot methods.
        size_px: side of the images; lengths scale with it.
        seed: decides everything.
        styles: makes of each product (other grain, tone and light); one, as in a factory, for the test.
        categories: only these; None for all of the split.

    Attributes:
        categories, words, records: see ``AnomalyImages``.
        complete: whether all categories of the split are in it.

    Raises:
        ValueError: an unknown split or category, a number that is too small.
    """

    def __init__(
        self,
        split: Side = "test",
        good: int = 16,
        per_kind: int = 6,
        normal: int = 16,
        size_px: int = 112,
        seed: int = 0,
        styles: int = 1,
        categories: Sequence[str] | None = None,
    ) -> None:
        if split not in PRODUCTS:
            raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
        for name, value, least in (("good", good, 0), ("per_kind", per_kind, 0), ("normal", normal, 0),
                                   ("styles", styles, 1), ("size_px", size_px, 32)):  # fmt: skip
            if value < least:
                raise ValueError(f"{name} must be at least {least}; got {value}")
        self.split, self.size_px, self.seed, self.styles, self.normal = split, size_px, seed, styles, normal
        self.products = _chosen(split, categories)
        self.categories = tuple(product.category for product in self.products)
        self.complete = len(self.products) == len(PRODUCTS[split])
        self.words = {product.category: product.words for product in self.products}
        self._plan = [
            (product, kind, index)
            for product in self.products
            for kind in (GOOD, *kinds_of(product, KINDS[split]))
            for index in range(good if kind == GOOD else per_kind)
        ]
        self.records = tuple(
            AnomalyRecord(
                f"{product.category}/{kind.replace(' ', '_')}/{index:03d}", product.category, kind, kind != GOOD
            )
            for product, kind, index in self._plan
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> AnomalySample:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of a set of {len(self)}")
        product, kind, number = self._plan[index]
        stream = _STREAMS[GOOD] if kind == GOOD else 2 + KINDS[self.split].index(kind)
        rng, surface = self._surface(product, stream, number)
        if kind == GOOD:
            return AnomalySample(
                _photograph(surface.image, rng), np.zeros(surface.part.shape, bool), self.records[index]
            )
        damaged = add_defect(kind, surface, rng)
        return AnomalySample(_photograph(damaged.image, rng), damaged.mask, self.records[index])

    def num_normal(self, category: str) -> int:
        """How many flawless training images a category has."""
        self._product(category)
        return self.normal

    def normal_image(self, category: str, index: int) -> np.ndarray:
        """A flawless training image, ``(S, S, 3)`` uint8 RGB; not one of the test images."""
        if not 0 <= index < self.normal:
            raise IndexError(f"normal image {index} of {category!r}, which has {self.normal}")
        rng, surface = self._surface(self._product(category), _STREAMS["normal"], index)
        return _photograph(surface.image, rng)

    def _product(self, category: str) -> Product:
        if category not in self.categories:
            raise ValueError(f"unknown category {category!r}; {suggest(category, self.categories)}")
        return self.products[self.categories.index(category)]

    def _surface(self, product: Product, stream: int, number: int) -> tuple[np.random.Generator, Surface]:
        """The product of one image, and the generator that goes on to damage and photograph it."""
        identity = PRODUCTS[self.split].index(product) + (500 if self.split == "train" else 0)
        rng = np.random.default_rng((2001, self.seed, identity, stream, number))
        make = (self.seed, identity, number % self.styles)
        return rng, draw_product(product, make, rng, self.size_px)


def _chosen(split: Side, categories: Sequence[str] | None) -> tuple[Product, ...]:
    known = {product.category: product for product in PRODUCTS[split]}
    unknown = [name for name in categories or () if name not in known]
    if unknown:
        raise ValueError(f"unknown category {unknown[0]!r} of the {split} split; {suggest(unknown[0], known)}")
    return tuple(known[name] for name in (known if categories is None else categories))


def draw_product(product: Product, make: tuple[int, ...], rng: np.random.Generator, size_px: int) -> Surface:
    """A flawless product.

    Args:
        product: what to draw.
        make: decides what all its images have in common: grain, tones, pattern.
        rng: decides place, turn and light.
        size_px: side of the picture.
    """
    unit = size_px / BASE_SIZE_PX
    ground = _view(_tile(product.material, make, unit), rng, size_px)
    if product.look is None:
        void = np.full_like(ground, 34) + rng.normal(0, 5, ground.shape).astype(np.float32)
        return Surface(ground, np.ones(ground.shape[:2], np.float32), void, unit)
    alpha, surface = _object_on(product.look, make, rng, size_px, unit)
    shadow = cv2.GaussianBlur(np.roll(alpha, (round(2 * unit),) * 2, (0, 1)), (0, 0), 2 * unit)
    shaded = ground * (1 - 0.35 * shadow)[..., None]
    return Surface(shaded + (surface - shaded) * alpha[..., None], alpha, ground, unit)


@lru_cache(maxsize=64)
def _tile(material: str, make: tuple[int, ...], unit: float) -> np.ndarray:
    return paint(material, np.random.default_rng((2002, *make, MATERIALS.index(material))), unit)


def _view(tile: np.ndarray, rng: np.random.Generator, size_px: int) -> np.ndarray:
    """A window of a tile, mirrored half of the time, ``(S, S, 3)`` float32."""
    side = round(size_px * rng.uniform(0.92, 1.08))
    y, x = rng.integers(0, len(tile) - side + 1, 2)
    view = tile[y : y + side, x : x + side, :]
    view = view[:, ::-1] if rng.random() < 0.5 else view
    return cv2.resize(np.ascontiguousarray(view), (size_px,) * 2, interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _object_on(
    look: Attributes, make: tuple[int, ...], rng: np.random.Generator, size_px: int, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage ``(S, S)`` and surface ``(S, S, 3)`` of an object; its pattern turns with it."""
    radius, angle = rng.uniform(38, 42) * unit, rng.uniform(-0.15, 0.15)
    centre = size_px / 2 + rng.uniform(-5, 5, 2) * unit
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    polygons = [polygon * radius @ turn.T + centre for polygon in outlines()[look.shape]]
    alpha = coverage(polygons, 0, 0, size_px, size_px)
    axis = np.arange(size_px, dtype=np.float32) + 0.5
    x, y = np.broadcast_arrays((axis - centre[0])[None] / unit, (axis - centre[1])[:, None] / unit)
    own = np.random.default_rng((2003, *make))
    return alpha, body(look.colour, look.pattern, own, x * cosine + y * sine, y * cosine - x * sine)


def _photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, uneven light and noise of a camera over a line; ``(S, S, 3)`` uint8."""
    axis = np.linspace(-1, 1, len(image), dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    falloff = 1 + rng.uniform(0, 0.1) * (axis[None] * np.cos(angle) + axis[:, None] * np.sin(angle))
    lit = image * (rng.uniform(0.9, 1.06) * falloff)[..., None]
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(1, 4))
    return np.clip(lit + noise, 0, 255).astype(np.uint8)
