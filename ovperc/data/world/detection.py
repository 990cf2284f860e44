"""Boxes and masks of the world's objects, with word pairs that no training image shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from ovperc.core.naming import suggest
from ovperc.data.detection.sample import DetectionSample, DetectionTruth, truth_of_samples
from ovperc.data.world.benchmark import EVALUATION_BANK
from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.labels import WorldLabels, colour_shape_labels, pattern_colour_labels
from ovperc.data.world.scene import Scene, SceneStyle, make_scene
from ovperc.data.world.vocabulary import Attributes
from ovperc.io.coco import encode_rle
from ovperc.registry import DATASETS

Split = Literal["train", "val", "test"]
_SMALLEST_AREA = 24
"""Visible pixels of a 112 px scene below which an object is a crowd: too little of it to be named."""


@dataclass(frozen=True)
class _Part:
    """A split: its stream of seeds, its textures, and whether it shows held-out pairs."""

    stream: int
    bank_seed: int
    bank_tiles: int
    novel: bool


_PARTS: Mapping[str, _Part] = {
    "train": _Part(1010, SceneStyle().bank_seed, SceneStyle().bank_tiles, False),
    "val": _Part(1011, 7001, 6, False),
    "test": _Part(1012, EVALUATION_BANK, 6, True),
}
_VOCABULARIES: Mapping[str, tuple[WorldLabels, tuple[Attributes, ...]]] = {
    "pattern_colour": (pattern_colour_labels(), HOLD_OUT.with_novel_pattern_colour),
    "colour_shape": (colour_shape_labels(), HOLD_OUT.with_novel_colour_shape),
}


@DATASETS.register_module()
class WorldDetection(Dataset):
    """Scenes with boxes and masks of their objects; the same seed gives the same set on every machine.

    ``train`` and ``val`` show base pairs only and know only their names; ``test`` shows held-out pairs on half of
    its objects and asks for all names. The three have textures of different banks. Nothing is chosen on ``test``:
    ``val`` is there for that.

    Args:
        split: ``train``, ``val`` or ``test``.
        num_scenes: size of the set.
        size_px: side of the images; lengths scale with it.
        seed: decides the scenes.
        vocabulary: what objects are called: ``pattern_colour`` (``"striped red object"``) or ``colour_shape``
            (``"red star"``).
        style: further changes of `SceneStyle`.

    Attributes:
        classes: label -> words.
        groups: ``base`` and, in ``test``, ``novel`` labels.
    """

    def __init__(
        self,
        split: Split = "test",
        num_scenes: int = 200,
        size_px: int = 112,
        seed: int = 0,
        vocabulary: str = "pattern_colour",
        style: Mapping[str, Any] | None = None,
    ) -> None:
        if split not in _PARTS:
            raise ValueError(f"unknown split {split!r}; {suggest(split, _PARTS)}")
        if vocabulary not in _VOCABULARIES:
            raise ValueError(f"unknown vocabulary {vocabulary!r}; {suggest(vocabulary, _VOCABULARIES)}")
        if num_scenes < 1:
            raise ValueError(f"num_scenes must be at least 1; got {num_scenes}")
        self.split = split
        self.num_scenes = num_scenes
        self.seed = seed
        self.vocabulary = vocabulary
        part = _PARTS[split]
        self._stream = part.stream
        self._labels, novel = _VOCABULARIES[vocabulary]
        looks = HOLD_OUT.base
        if part.novel:
            looks = looks + novel * max(1, len(looks) // len(novel))
        self.style = replace(
            SceneStyle(bank_seed=part.bank_seed, bank_tiles=part.bank_tiles, size_px=size_px, combinations=looks),
            **(style or {}),
        )
        groups = {name: self._labels.groups[name] for name in ("base", "novel") if part.novel or name == "base"}
        kept = sorted(label for labels in groups.values() for label in labels)
        self._own_label = {label: index for index, label in enumerate(kept)}
        self.classes: tuple[str, ...] = tuple(self._labels.classes[label] for label in kept)
        self.groups: Mapping[str, tuple[int, ...]] = {
            name: tuple(self._own_label[label] for label in labels) for name, labels in groups.items()
        }

    def __len__(self) -> int:
        return self.num_scenes

    def scene(self, index: int) -> Scene:
        """A scene with all its annotations."""
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of a set of {len(self)}")
        return make_scene((self._stream, self.seed, int(index)), self.style)

    def __getitem__(self, index: int) -> DetectionSample:
        scene = self.scene(index)
        seen = [(number, item) for number, item in enumerate(scene.objects) if item.area_px > 0]
        least = _SMALLEST_AREA * (len(scene.image) / 112) ** 2
        return DetectionSample(
            image=scene.image,
            boxes=np.array([item.box for _, item in seen], np.float32).reshape(-1, 4),
            labels=np.array([self.label(item.attributes) for _, item in seen], np.int64),
            masks=tuple(encode_rle(scene.instances == number + 1) for number, _ in seen),
            crowd=np.array([item.area_px < least for _, item in seen], bool),
            image_id=int(index) + 1,
            name=f"world-{self.split}-{self.seed}-{index:05d}",
        )

    def label(self, look: Attributes) -> int:
        """Label of an object's look."""
        return self._own_label[self._labels.object_label(look)]

    def truth(self, indices: Sequence[int] | None = None) -> DetectionTruth:
        """All annotations, or those of some images."""
        chosen = range(len(self)) if indices is None else indices
        return truth_of_samples([self[index] for index in chosen], self.classes, self.groups)
