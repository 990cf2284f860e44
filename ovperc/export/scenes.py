"""Scenes of the world that exports are checked on, calibrated on, and shown by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ovperc.tiling import normalize, resize_image

if TYPE_CHECKING:
    from ovperc.data.world.benchmark import WorldSample
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter

BENCHMARK = "world-base"
IGNORED = 255
_CHECK_SEED, _CALIBRATION_SEED, _EXAMPLE_SEED = 7, 11, 13
# Heights and widths in units of a scene's side: a square, lying, standing, small and large.
_SHAPES = ((1.0, 1.0), (0.7, 1.0), (1.0, 0.75), (0.5, 0.5), (1.4, 1.7))
_EXAMPLE_OF, _EXAMPLE_SHARE = 40, 0.03
_OTHER_WORDS = ("grass", "brick", "sand", "water")


@dataclass(frozen=True)
class CheckImage:
    """An image of the world with its true labels, ``(H, W, 3)`` uint8 and ``(H, W)`` uint8 (255 is ignored)."""

    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Example:
    """The image that travels with a folder, and words for it: what it shows, and some that it does not."""

    image: np.ndarray
    words: tuple[str, ...]


def check_images(
    count: int, size_hw: tuple[int, int] | None = None, side_px: int = 224, seed: int = _CHECK_SEED
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


def calibration_windows(
    segmenter: DenseSegmenter, count: int, size_hw: tuple[int, int] | None = None
) -> list[np.ndarray]:
    """What a tower sees of scenes that no check uses: ``(T, 3, h, w)`` float32 each, normalised.

    Args:
        segmenter: its rules of resize, windows and normalisation.
        count: number of scenes.
        size_hw: of the images; ``None`` for several sizes.
    """
    images, _ = check_images(count, size_hw, seed=_CALIBRATION_SEED)
    preprocess, windows = segmenter.clip.preprocess, []
    for entry in images:
        geometry = segmenter.tiler.plan(entry.image.shape[:2], segmenter.clip.backbone.stride_px)
        pixels = normalize(resize_image(entry.image, geometry.resized_hw), preprocess.mean, preprocess.std)
        windows.append(segmenter.tiler.tiles(pixels, geometry).numpy())
    return windows
