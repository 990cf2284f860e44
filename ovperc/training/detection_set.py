"""Photographs with boxes as training batches: one random scale, crop and flip for image, boxes, masks and regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ovperc.data.benchmarks import get_benchmark
from ovperc.data.detection.batch import DetectionBatch
from ovperc.data.detection.sample import DetectionImages, DetectionSample
from ovperc.data.detection.splits import OV_COCO_BASE, as_words
from ovperc.registry import DATASETS, FUNCTIONS
from ovperc.training.teacher_store import TeacherRecord, TeacherStore


@FUNCTIONS.register_module()
def ov_coco_base() -> tuple[tuple[str, ...], ...]:
    """One vocabulary: the 48 base classes of OV-COCO."""
    return (tuple(as_words(name) for name in OV_COCO_BASE),)


@dataclass(frozen=True)
class Jitter:
    """One draw of large-scale jittering (Ghiasi et al., CVPR 2021): resize, flip, place on a square.

    Attributes:
        resized_hw: size after the resize.
        flip: whether left and right are swapped.
        shift_xy: what is cut off at the left and the top, px of the resized image.
        size_px: side of the square; the rest of it is grey.
    """

    resized_hw: tuple[int, int]
    flip: bool
    shift_xy: tuple[int, int]
    size_px: int

    @classmethod
    def draw(cls, image_hw: tuple[int, int], size_px: int, scale: tuple[float, float], flip: float) -> Jitter:
        """Draws by numpy's global generator, which ``SeededDataset`` sets for each item."""
        factor = size_px * np.random.uniform(*scale) / max(image_hw)  # noqa: NPY002
        resized = tuple(max(1, round(side * factor)) for side in image_hw)
        room = [max(0, side - size_px) for side in resized[::-1]]
        shift = tuple(int(np.random.randint(0, spare + 1)) for spare in room)  # noqa: NPY002
        return cls(resized, bool(np.random.random() < flip), shift, size_px)  # noqa: NPY002

    def pixels(self, image: np.ndarray, fill: int, interpolation: int) -> np.ndarray:
        """An image ``(H, W[, 3])`` uint8 on the square."""
        resized = cv2.resize(image, self.resized_hw[::-1], interpolation=interpolation)
        resized = resized[:, ::-1] if self.flip else resized
        part = resized[self.shift_xy[1] :, self.shift_xy[0] :][: self.size_px, : self.size_px]
        square = np.full((self.size_px, self.size_px, *image.shape[2:]), fill, np.uint8)
        square[: part.shape[0], : part.shape[1]] = part
        return square

    def boxes(self, shares: Tensor, least: float) -> tuple[Tensor, Tensor]:
        """Boxes on the square, and the rows that keep at least so much of their area.

        Args:
            shares: ``(N, 4)`` xyxy as shares of width and height.
            least: share of a box's area that has to stay.
        """
        height, width = self.resized_hw
        boxes = shares.float() * shares.new_tensor([width, height, width, height])
        if self.flip:
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        boxes = boxes - boxes.new_tensor([*self.shift_xy, *self.shift_xy])
        clipped = boxes.clamp(0, self.size_px)
        area, whole = ((part[:, 2:] - part[:, :2]).prod(dim=1) for part in (clipped, boxes))
        long_enough = (clipped[:, 2:] - clipped[:, :2]).amin(dim=1) >= 1
        kept = (long_enough & (area >= least * whole)).nonzero().flatten()
        return clipped[kept], kept


@DATASETS.register_module()
class DetectionTraining(Dataset):
    """Batches of one image; the loader joins them (``collate_fn=dict(type="ovperc.join_batches")``).

    Objects whose names are not in the vocabulary, and crowds, are left out. Teacher regions go through the same
    flip and crop as the picture they belong to.

    Args:
        benchmark: whose training split is read, such as ``ov-coco``; or a set that is already open.
        vocabularies: name of the registered function that gives the words, or the words; one vocabulary.
        options: of the benchmark, such as ``dict(root=..., split="train")``.
        size_px: side of the square that images are put on.
        scale: smallest and largest size of the longer side, in sides of the square.
        flip: chance of a flip.
        least_area: share of an object's area that has to stay in the crop.
        teacher: folder of a teacher store; None for none.
    """

    def __init__(
        self,
        benchmark: str | DetectionImages,
        vocabularies: str | Sequence[Sequence[str]],
        options: Mapping[str, Any] | None = None,
        size_px: int = 640,
        scale: tuple[float, float] = (0.1, 2.0),
        flip: float = 0.5,
        least_area: float = 0.25,
        teacher: str | Path | None = None,
    ) -> None:
        opened = get_benchmark(benchmark).images(**(options or {})) if isinstance(benchmark, str) else benchmark
        self.images: DetectionImages = opened
        (words,) = FUNCTIONS.get(vocabularies)() if isinstance(vocabularies, str) else vocabularies
        numbers = {word: number for number, word in enumerate(words)}
        self.labels = {label: numbers[name] for label, name in enumerate(opened.classes) if name in numbers}
        if not self.labels:
            raise ValueError(f"none of the words ({words[0]}, ...) names a class of the set ({opened.classes[0]}, ...)")
        self.size_px = size_px
        self.scale = (float(scale[0]), float(scale[1]))
        self.flip = flip
        self.least_area = least_area
        self.store = None if teacher is None else TeacherStore(teacher)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> DetectionBatch:
        sample = self.images[int(index)]
        jitter = Jitter.draw(sample.image.shape[:2], self.size_px, self.scale, self.flip)
        pixels = torch.from_numpy(jitter.pixels(sample.image, 114, cv2.INTER_LINEAR)).permute(2, 0, 1)
        boxes, labels, masks = self._objects(sample, jitter)
        regions, features = self._taught(sample, jitter)
        return DetectionBatch(pixels[None].contiguous(), (boxes,), (labels,), masks, regions, features)

    def _objects(self, sample: DetectionSample, jitter: Jitter) -> tuple[Tensor, Tensor, tuple[Tensor, ...] | None]:
        known = [
            row for row, label in enumerate(sample.labels.tolist()) if label in self.labels and not sample.crowd[row]
        ]
        height, width = sample.image.shape[:2]
        shares = torch.from_numpy(sample.boxes[known]) / torch.tensor([width, height, width, height])
        boxes, kept = jitter.boxes(shares, self.least_area)
        rows = [known[row] for row in kept.tolist()]
        labels = torch.tensor([[self.labels[int(sample.labels[row])]] for row in rows], dtype=torch.int64).view(-1, 1)
        if not sample.masks and len(sample.labels):
            return boxes, labels, None
        dense = sample.dense_masks()[rows]
        placed = [torch.from_numpy(jitter.pixels(mask.astype(np.uint8), 0, cv2.INTER_NEAREST) > 0) for mask in dense]
        empty = torch.zeros((0, self.size_px, self.size_px), dtype=torch.bool)
        return boxes, labels, (torch.stack(placed) if placed else empty,)

    def _taught(
        self, sample: DetectionSample, jitter: Jitter
    ) -> tuple[tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        if self.store is None:
            return None, None
        taught: TeacherRecord = self.store[sample.name]
        boxes, kept = jitter.boxes(taught.boxes, self.least_area)
        return (boxes,), (taught.features[kept],)
