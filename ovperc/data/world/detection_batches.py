"""Training batches for detectors: scenes of base pairs, each object named in several vocabularies at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ovperc.data.detection.batch import IGNORE, DetectionBatch
from ovperc.data.world.detection import WorldDetection
from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.scene import Scene
from ovperc.data.world.vocabulary import COLOURS, PATTERNS, SHAPES, Attributes
from ovperc.registry import DATASETS, FUNCTIONS

_LEAST_AREA_PX = 24
"""Visible pixels of a 112 px scene below which an object is too little of one to learn from."""


_OF_COLOUR = (True, True, True, False, False)
"""Which of :func:`phrases` speak of colour, of which pictures in grey say nothing."""


def phrases(look: Attributes) -> tuple[str, ...]:
    """What an object is called: by pattern and colour, by colour and shape, and by each of the three alone."""
    colour, pattern, shape = COLOURS[look.colour], PATTERNS[look.pattern], SHAPES[look.shape]
    return (f"{pattern} {colour} object", f"{colour} {shape}", f"{colour} object", f"{pattern} object", shape)


@FUNCTIONS.register_module(name="world_phrases")
@lru_cache(maxsize=1)
def world_phrases() -> tuple[tuple[str, ...], ...]:
    """The vocabularies of :func:`phrases`, of looks without held-out pairs, each sorted."""
    return tuple(tuple(sorted(set(column))) for column in zip(*map(phrases, HOLD_OUT.base), strict=True))


@DATASETS.register_module()
class WorldDetectionBatches(Dataset):
    """Batches of the training split of :class:`WorldDetection`; item ``i`` depends on the seed and ``i`` only.

    Pictures without colour (``style=dict(grey_share=...)``) teach patterns and shapes apart from colours; words of
    colour are ignored there.

    Args:
        length: number of steps of the training run.
        seed: decides the scenes.
        scenes: pictures in a batch.
        size_px: side of the pictures.
        style: changes of the scenes' style.
    """

    def __init__(
        self, length: int, seed: int = 0, scenes: int = 16, size_px: int = 112, style: Mapping[str, Any] | None = None
    ) -> None:
        self.length = length
        self.scenes = scenes
        self.split = WorldDetection("train", length * scenes, size_px, seed, style=style)
        self._numbers = [{word: number for number, word in enumerate(words)} for words in world_phrases()]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> DetectionBatch:
        first = int(index) * self.scenes
        scenes = [self.split.scene(first + number) for number in range(self.scenes)]
        boxes, labels, masks = zip(*map(self._objects, scenes), strict=True)
        images = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).contiguous()
        return DetectionBatch(images, boxes, labels, masks)

    def _objects(self, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, labels and masks of the objects that show enough of themselves."""
        least = _LEAST_AREA_PX * (len(scene.image) / 112) ** 2
        seen = [(number, item) for number, item in enumerate(scene.objects) if item.area_px >= least]
        boxes = torch.tensor([item.box for _, item in seen], dtype=torch.float32).view(-1, 4)
        rows = [self._row(item.attributes, scene.grey) for _, item in seen]
        masks = [torch.from_numpy(scene.instances == number + 1) for number, _ in seen]
        return (
            boxes,
            torch.tensor(rows, dtype=torch.int64).view(-1, len(self._numbers)),
            torch.stack(masks) if masks else torch.zeros((0, *scene.instances.shape), dtype=torch.bool),
        )

    def _row(self, look: Attributes, grey: bool) -> list[int]:
        """An object's label in each vocabulary."""
        named = zip(self._numbers, phrases(look), _OF_COLOUR, strict=True)
        return [IGNORE if grey and of_colour else table[word] for table, word, of_colour in named]
