"""Training batches for self-distillation: two windows of every scene, cut on one grid of patches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ovperc.data.world.scene import SceneStyle, make_scene
from ovperc.registry import DATASETS


@dataclass(frozen=True)
class ViewPairs:
    """Two windows of every scene, each in a light of its own.

    Attributes:
        images: ``(2, B, 3, S, S)`` uint8 RGB.
        corners: ``(2, B, 2)`` int64, row and column of each window's first patch in the scene's grid.
    """

    images: Tensor
    corners: Tensor


@DATASETS.register_module()
class WorldViewPairs(Dataset):
    """Pictures only, no labels; item ``i`` depends on the seed and ``i`` only.

    Args:
        length: number of steps of the training run.
        seed: decides everything.
        scenes: scenes in a batch.
        window_px: side of the windows.
        patch_px: windows begin at multiples of it, so that their patches coincide where they overlap.
        style: changes of the default `SceneStyle`.

    Raises:
        ValueError: windows that are no whole number of patches, or larger than the scenes.
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        scenes: int = 24,
        window_px: int = 48,
        patch_px: int = 4,
        style: dict[str, Any] | None = None,
    ) -> None:
        self.style = replace(SceneStyle(), **(style or {}))
        if window_px % patch_px or not patch_px <= window_px <= self.style.size_px:
            raise ValueError(
                f"window_px must be a multiple of patch_px ({patch_px}) and at most the scene's {self.style.size_px}; "
                f"got {window_px}"
            )
        self.length = length
        self.seed = seed
        self.scenes = scenes
        self.window_px = window_px
        self.patch_px = patch_px

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> ViewPairs:
        index = int(index)
        rng = np.random.default_rng((self.seed, index, 5))
        images, corners = [], []
        for number in range(self.scenes):
            scene = make_scene((self.seed, index, 6, number), self.style)
            places = self._places(rng, len(scene.image) // self.patch_px)
            corners.append(places)
            images.append([relight(self._cut(scene.image, place), rng) for place in places])
        pixels = torch.from_numpy(np.array(images)).permute(1, 0, 4, 2, 3).contiguous()
        return ViewPairs(pixels, torch.from_numpy(np.array(corners)).permute(1, 0, 2).contiguous())

    def _places(self, rng: np.random.Generator, grid: int) -> np.ndarray:
        """Corners of two windows that share at least a quarter of their patches, ``(2, 2)``."""
        span = self.window_px // self.patch_px
        first = rng.integers(0, grid - span + 1, 2)
        shift = rng.integers(-(span // 2), span // 2 + 1, 2)
        return np.stack([first, np.clip(first + shift, 0, grid - span)])

    def _cut(self, image: np.ndarray, place: np.ndarray) -> np.ndarray:
        y, x = place * self.patch_px
        return image[y : y + self.window_px, x : x + self.window_px]


def relight(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure, tint, focus and noise; colours keep their names. ``(S, S, 3)`` uint8 in and out."""
    picture = image.astype(np.float32)
    level = picture.mean()
    picture = (picture - level) * rng.uniform(0.8, 1.2) + level * rng.uniform(0.85, 1.15)
    picture *= rng.uniform(0.94, 1.06, 3).astype(np.float32)
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.8))
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(0, 5))
    return np.clip(picture, 0, 255).astype(np.uint8)
