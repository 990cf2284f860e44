"""Objects and materials of the world as regions to be named."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from ovperc.data.detection.sample import DetectionSample
from ovperc.data.world.detection import Split, WorldDetection
from ovperc.data.world.vocabulary import MATERIALS
from ovperc.io.coco import encode_rle
from ovperc.registry import DATASETS

_SMALLEST_AREA = 150
"""Visible pixels of a 112 px scene below which a material is no region."""


@DATASETS.register_module()
class WorldRegions(Dataset):
    """Scenes of `WorldDetection` whose materials are regions too; tiny objects are left out.

    Args:
        split, num_scenes, size_px, seed, vocabulary: as for `WorldDetection`.

    Attributes:
        classes: words of the objects, then the materials.
        groups: ``thing`` and ``stuff``, and ``base`` and ``novel`` things.
    """

    def __init__(
        self,
        split: Split = "test",
        num_scenes: int = 200,
        size_px: int = 112,
        seed: int = 0,
        vocabulary: str = "pattern_colour",
    ) -> None:
        self.scenes = WorldDetection(split, num_scenes, size_px, seed, vocabulary)
        things = len(self.scenes.classes)
        self.classes = (*self.scenes.classes, *MATERIALS)
        self.groups = {
            **self.scenes.groups,
            "thing": tuple(range(things)),
            "stuff": tuple(range(things, len(self.classes))),
        }

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> DetectionSample:
        sample, scene = self.scenes[index], self.scenes.scene(index)
        kept = np.flatnonzero(~sample.crowd)
        ground = np.where(scene.instances == 0, scene.materials, 255)
        least = _SMALLEST_AREA * (len(scene.image) / 112) ** 2
        stuff = [(number, ground == number) for number in range(len(MATERIALS)) if (ground == number).sum() >= least]
        boxes = [sample.boxes[kept], *(_bounds(mask)[None] for _, mask in stuff)]
        first = len(self.scenes.classes)
        labels = [sample.labels[kept], np.array([first + number for number, _ in stuff], np.int64)]
        return DetectionSample(
            image=sample.image,
            boxes=np.concatenate(boxes).astype(np.float32),
            labels=np.concatenate(labels),
            masks=(*(sample.masks[number] for number in kept), *(encode_rle(mask) for _, mask in stuff)),
            crowd=np.zeros(len(kept) + len(stuff), bool),
            image_id=sample.image_id,
            name=sample.name,
        )


def _bounds(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
