"""Training batches for promptable segmentation: regions of scenes, with a point, a box and a rough mask each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ovperc.data.world.scene import Scene, SceneStyle, make_scene
from ovperc.registry import DATASETS

_MIN_OBJECT_PX, _MIN_GROUND_PX = 60, 200


@dataclass(frozen=True)
class PromptedRegions:
    """Pictures and regions to be found in them, ``P`` regions a picture.

    Attributes:
        images: ``(B, 3, S, S)`` uint8 RGB.
        masks: ``(B * P, 1, S, S)`` bool, the regions.
        points: ``(B * P, 1, 2)`` float32 x, y of a random pixel inside.
        boxes: ``(B * P, 4)`` float32, loose round the region.
        rough: ``(B * P, 1, G, G)`` float32 logits of a rough mask.
        image_of: ``(B * P,)`` int64.
        objects: ``(B * P,)`` bool, objects rather than materials.
    """

    images: Tensor
    masks: Tensor
    points: Tensor
    boxes: Tensor
    rough: Tensor
    image_of: Tensor
    objects: Tensor


@DATASETS.register_module()
class WorldPrompts(Dataset):
    """Objects, three times in four, and regions of material; item ``i`` depends on the seed and ``i`` only.

    Args:
        length: number of steps of the training run, or batches of a test set.
        seed: decides everything.
        scenes: pictures in a batch.
        prompts: regions of each picture, with repetition.
        ground_share: share of regions that are material.
        box_jitter: deviation of box sides, in sizes of the box.
        mask_grid: side of the rough masks.
        style: changes of the default `SceneStyle`.
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        scenes: int = 16,
        prompts: int = 6,
        ground_share: float = 0.25,
        box_jitter: float = 0.04,
        mask_grid: int = 56,
        style: dict[str, Any] | None = None,
    ) -> None:
        self.length = length
        self.seed = seed
        self.scenes = scenes
        self.prompts = prompts
        self.ground_share = ground_share
        self.box_jitter = box_jitter
        self.mask_grid = mask_grid
        self.style = replace(SceneStyle(), **(style or {}))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> PromptedRegions:
        index = int(index)
        rng = np.random.default_rng((self.seed, index, 7))
        scenes = [make_scene((self.seed, index, 8, number), self.style) for number in range(self.scenes)]
        regions = [self._region(scene, rng) for scene in scenes for _ in range(self.prompts)]
        masks, is_object = zip(*regions, strict=True)
        places = [self._place(mask, rng) for mask in masks]
        points, boxes = zip(*places, strict=True)
        rough = [rough_mask(mask, self.mask_grid, rng) for mask in masks]
        return PromptedRegions(
            torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(np.stack(masks))[:, None],
            torch.from_numpy(np.array(points, np.float32))[:, None],
            torch.from_numpy(np.array(boxes, np.float32)),
            torch.from_numpy(np.stack(rough))[:, None],
            torch.arange(len(scenes)).repeat_interleave(self.prompts),
            torch.tensor(is_object),
        )

    def _region(self, scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
        """A mask, and whether it is an object's."""
        objects = [i + 1 for i, item in enumerate(scene.objects) if item.area_px >= _MIN_OBJECT_PX]
        ground = np.bincount(scene.materials[scene.instances == 0], minlength=1)
        grounds = np.flatnonzero(ground >= _MIN_GROUND_PX)
        if objects and (not len(grounds) or rng.random() >= self.ground_share):
            return scene.instances == objects[int(rng.integers(len(objects)))], True
        material = grounds[int(rng.integers(len(grounds)))] if len(grounds) else int(ground.argmax())
        return (scene.materials == material) & (scene.instances == 0), False

    def _place(self, mask: np.ndarray, rng: np.random.Generator) -> tuple[tuple[int, int], np.ndarray]:
        """A pixel inside, and a box round it that is a little off."""
        ys, xs = np.nonzero(mask)
        pick = int(rng.integers(len(ys)))
        box = np.array([xs.min(), ys.min(), xs.max(), ys.max()], np.float32)
        size = np.array([box[2] - box[0], box[3] - box[1]])
        box = box + rng.normal(0, self.box_jitter, 4) * np.tile(size, 2)
        return (int(xs[pick]), int(ys[pick])), np.clip(box, 0, len(mask) - 1)


def rough_mask(mask: np.ndarray, grid: int, rng: np.random.Generator) -> np.ndarray:
    """What a coarse method might say of a region: shifted, blurred, unsure; ``(grid, grid)`` float32 logits."""
    small = cv2.resize(mask.astype(np.float32), (grid, grid), interpolation=cv2.INTER_AREA)
    shift = rng.integers(-2, 3, 2)
    soft = cv2.GaussianBlur(np.roll(small, shift, (0, 1)), (0, 0), float(rng.uniform(1.0, 4.0)))
    noise = cv2.GaussianBlur(rng.standard_normal((grid, grid)).astype(np.float32), (0, 0), 3.0) * 1.5
    return (soft - 0.5 + 0.2 * noise) * np.float32(rng.uniform(2.0, 16.0))
