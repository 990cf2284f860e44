"""Scenes of the world as segments: objects are things, materials are stuff."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch.utils.data import Dataset

from ovperc.core.panoptic import PanopticMap, Segment
from ovperc.data.panoptic.sample import STUFF, THING, PanopticSample
from ovperc.data.world.benchmark import WorldSegmentation
from ovperc.data.world.scene import MAX_OBJECTS, Scene


class WorldPanoptic(Dataset):
    """The scenes of a segmentation benchmark of the world, with an instance for each object.

    Args:
        benchmark: ``world-novel`` and the like.
        num_scenes: size of the set.
        size_px: side of the images.
        seed: decides the scenes.

    Attributes:
        classes: label -> words.
        category_ids: the labels.
        groups: ``thing`` and ``stuff``; ``base`` and ``novel`` things, where the benchmark has them.
    """

    def __init__(
        self, benchmark: str = "world-novel", num_scenes: int = 100, size_px: int = 112, seed: int = 0
    ) -> None:
        self._scenes = WorldSegmentation(benchmark, num_scenes, size_px, seed)
        self.classes = self._scenes.classes
        self.category_ids = tuple(range(len(self.classes)))
        groups = dict(self._scenes.groups)
        stuff = groups.pop("materials")
        things = tuple(label for label in self.category_ids if label not in stuff)
        self.groups: Mapping[str, tuple[int, ...]] = {THING: things, STUFF: stuff, **groups}

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> PanopticSample:
        scene, sample = self._scenes.scene(index), self._scenes[index]
        return PanopticSample(scene.image, self._panoptic(scene), index + 1, sample.name)

    def _panoptic(self, scene: Scene) -> PanopticMap:
        """Visible objects by their number, then each material that is not wholly covered."""
        ground = scene.instances == 0
        ids = np.where(ground, scene.materials + np.int32(MAX_OBJECTS + 1), scene.instances.astype(np.int32))
        objects = [
            Segment(number, self._scenes.world.object_label(item.attributes))
            for number, item in enumerate(scene.objects, 1)
            if item.area_px
        ]
        first = self.groups[STUFF][0]
        materials = [
            Segment(MAX_OBJECTS + 1 + material, first + material)
            for material in np.unique(scene.materials[ground]).tolist()
        ]
        return PanopticMap(ids, (*objects, *materials))
