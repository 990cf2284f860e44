"""Whole scenes of the world with captions, boxes and phrases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ovperc.data.region_text import RegionTextBatch
from ovperc.data.world.captions import describe, look_at, openai_templates
from ovperc.data.world.scene import Scene, SceneStyle, make_scene
from ovperc.data.world.tiles import WorldTruth
from ovperc.registry import DATASETS


@DATASETS.register_module()
class WorldSceneTexts(Dataset):
    """Training scenes, base pairs only; item ``i`` depends on the seed and ``i`` alone.

    An item is ``{"batch": RegionTextBatch}`` with captions, boxes of objects, their looks as phrases, and seeds.

    Args:
        length: number of steps of the training run.
        seed: decides everything.
        scenes: images in a batch.
        size_px: their side.
        style: changes of the default `SceneStyle`.
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        scenes: int = 16,
        size_px: int = 112,
        style: Mapping[str, Any] | None = None,
    ) -> None:
        self.length = length
        self.seed = seed
        self.scenes = scenes
        self.style = replace(SceneStyle(size_px=size_px), **(style or {}))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, RegionTextBatch]:
        rng = np.random.default_rng((self.seed, int(index), 6))
        scenes = [make_scene((self.seed, int(index), 7, number), self.style) for number in range(self.scenes)]
        views = tuple(look_at(scene) for scene in scenes)
        captions = tuple(describe(view, rng, openai_templates()) for view in views)
        images = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).contiguous()
        return {
            "batch": RegionTextBatch(
                images,
                tuple(caption.text for caption in captions),
                WorldTruth(captions, views),
                tuple(_boxes(scene) for scene in scenes),
                tuple(tuple(str(item.attributes) for item in scene.objects if item.area_px) for scene in scenes),
                torch.from_numpy(rng.integers(0, 2**31, self.scenes)),
            )
        }


def _boxes(scene: Scene) -> torch.Tensor:
    boxes = [item.box for item in scene.objects if item.area_px]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
