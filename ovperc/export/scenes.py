"""Scenes of the world that exports are checked on, calibrated on, and shown by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from ovperc.data.world.benchmark import WorldSample
    from ovperc.tiling import Preprocess, Tiler

BENCHMARK = "world-base"
IGNORED = 255
CHECK_SEED, CALIBRATION_SEED, _EXAMPLE_SEED = 7, 11, 13
# Heights and widths in units of a scene's side: a square, lying, standing, small and large.
_SHAPES = ((1.0, 1.0), (0.7, 1.0), (1.0, 0.75), (0.5, 0.5), (1.4, 1.7))
_PRODUCT_PX, _PRODUCT_SIZES = 112, ((112, 112), (96, 150), (160, 130), (224, 224))
_EXAMPLE_OF, _EXAMPLE_SHARE = 40, 0.03
_OTHER_WORDS = ("grass", "brick", "sand", "water")


@dataclass(frozen=True)
class CheckImage:
    """An image of the world with its true labels, ``(H, W, 3)`` uint8 and ``(H, W)`` uint8 (255 is ignored)."""

    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Example:
    """The image that travels with a folder.

    Attributes:
        image: ``(H, W, 3)`` uint8.
        words: a vocabulary for it, what it shows and some that it does not; empty where none can be chosen.
    """

    image: np.ndarray
    words: tuple[str, ...] = ()


def check_images(
    count: int, size_hw: tuple[int, int] | None = None, side_px: int = 224, seed: int = CHECK_SEED
) -> tuple[list[CheckImage], tuple[str, ...]]:
    """Scenes of the world and their class names.

    Args:
        count: number of scenes.
        size_hw: all of this size; ``None`` for several sizes and aspects.
        side_px: side of a scene before it is brought to its size.
        seed: of the scenes.
    """
    from ovperc.data.world.benchmark import build_benchmark

    scenes = build_benchmark(BENCHMARK, num_scenes=count, size_px=side_px, seed=seed)
    sides = [[round(side_px * factor) for factor in shape] for shape in _SHAPES]
    images = [_resized(scenes[index], *(size_hw or sides[index % len(sides)])) for index in range(count)]
    return images, scenes.classes


def _resized(sample: WorldSample, height: int, width: int) -> CheckImage:
    image = cv2.resize(sample.image, (width, height), interpolation=cv2.INTER_AREA)
    return CheckImage(image, cv2.resize(sample.labels, (width, height), interpolation=cv2.INTER_NEAREST))


def example_scene(size_hw: tuple[int, int] | None = None, side_px: int = 224) -> Example:
    """The scene that shows most classes, each on a fair share of the image.

    Args:
        size_hw: wanted size; ``None`` for the scene's own.
        side_px: side of a scene before it is brought to its size.
    """
    from ovperc.data.world.benchmark import build_benchmark

    scenes = build_benchmark(BENCHMARK, num_scenes=_EXAMPLE_OF, size_px=side_px, seed=_EXAMPLE_SEED)
    samples = [scenes[index] for index in range(_EXAMPLE_OF)]
    shown = [_classes_shown(sample.labels) for sample in samples]
    best = max(range(_EXAMPLE_OF), key=lambda index: len(shown[index]))
    words = [scenes.classes[label] for label in shown[best]]
    words += [word for word in _OTHER_WORDS if word not in words]
    return Example(_resized(samples[best], *(size_hw or (side_px, side_px))).image, tuple(words))


def _classes_shown(labels: np.ndarray) -> list[int]:
    """Labels on at least 3 % of the pixels, largest first."""
    counts = np.bincount(labels.ravel(), minlength=IGNORED + 1)[:IGNORED]
    order = np.argsort(-counts, kind="stable")
    return [int(label) for label in order if counts[label] >= _EXAMPLE_SHARE * labels.size]


def calibration_scenes(count: int, size_hw: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Scenes that no check uses, ``(H, W, 3)`` uint8 each, of one size or of several."""
    return [entry.image for entry in check_images(count, size_hw, seed=CALIBRATION_SEED)[0]]


def product_images(count: int, size_hw: tuple[int, int] | None = None, seed: int = CHECK_SEED) -> list[np.ndarray]:
    """Products of the world, normal and anomalous in turn, ``(H, W, 3)`` uint8 each.

    Args:
        count: number of images.
        size_hw: all of this size; ``None`` for several sizes.
        seed: of their order.
    """
    from ovperc.data.world.anomaly import WorldAnomaly

    products = WorldAnomaly(good=1, per_kind=1, size_px=_PRODUCT_PX)
    order = np.random.default_rng(seed).permutation(len(products))[:count] if count <= len(products) else range(count)
    images = []
    for number, index in enumerate(order):
        height, width = size_hw or _PRODUCT_SIZES[number % len(_PRODUCT_SIZES)]
        images.append(cv2.resize(products[int(index) % len(products)].image, (width, height)))
    return images


def tower_tiles(image: np.ndarray, tiler: Tiler, patch_px: int, preprocess: Preprocess, resize: str) -> np.ndarray:
    """What a tower gets of an image: ``(T, 3, h, w)`` float32, normalised.

    Args:
        image: ``(H, W, 3)`` uint8.
        tiler: its rules.
        patch_px: stride of the tower.
        preprocess: mean and deviation.
        resize: rule of the resize.
    """
    geometry = tiler.plan((image.shape[0], image.shape[1]), patch_px)
    return tiler.tiles(preprocess.apply(image, geometry.resized_hw, resize), geometry).numpy()
