"""Training batches of photo-mini's image tower: densely labelled views, and views with the word of their image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ovperc.data.photo.pictures import read_coco_sample, read_imagenet_sample
from ovperc.data.photo.views import ViewStyle, random_view
from ovperc.registry import DATASETS


@dataclass(frozen=True)
class PhotoBatch:
    """Views of one training step.

    Attributes:
        images: ``(B, 3, S, S)`` uint8 RGB.
        labels: ``(B, S / stride, S / stride)`` int64 class of :func:`coco_names`, ``IGNORED`` where unknown.
        tagged: ``(T, 3, s, s)`` uint8 RGB.
        tags: ``(T,)`` int64 ImageNet class of each tagged view.
    """

    images: Tensor
    labels: Tensor
    tagged: Tensor
    tags: Tensor


@DATASETS.register_module()
class PhotoBatches(Dataset):
    """Item ``i`` depends on the seed and ``i`` only.

    Args:
        length: number of steps of the training run.
        seed: of the draws.
        dense, tagged: views in a batch, of ``coco_sample`` and of ``imagenet_1000``.
        dense_px, tagged_px: their sides.
        stride: pixels per label.
        style, tagged_style: settings of :class:`ViewStyle`.
        hidden: classes whose dense labels are left out.
        hidden_tags: ImageNet classes, by index, whose photographs are left out.
        part: take the images whose position is not ``part[0]`` modulo ``part[1]`` (cross-validation); None takes all.
        root: folder of the data sets; None takes ``$OVPERC_DATA``.
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        dense: int = 8,
        tagged: int = 8,
        dense_px: int = 320,
        tagged_px: int = 224,
        stride: int = 8,
        style: Mapping[str, Any] | None = None,
        tagged_style: Mapping[str, Any] | None = None,
        hidden: Iterable[str] = (),
        hidden_tags: Iterable[int] = (),
        part: tuple[int, int] | None = None,
        root: str | Path | None = None,
    ) -> None:
        self.length, self.seed = length, seed
        self.dense, self.tagged = dense, tagged
        self.dense_px, self.tagged_px, self.stride = dense_px, tagged_px, stride
        self.style, self.tagged_style = ViewStyle(**(style or {})), ViewStyle(**(tagged_style or {}))
        photos = read_coco_sample("train2017", root, hidden)
        self.photos = [photo for place, photo in enumerate(photos) if part is None or place % part[1] != part[0]]
        self.tagged_photos = read_imagenet_sample(root)
        self.tag_choices = np.setdiff1d(np.arange(len(self.tagged_photos)), list(hidden_tags))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> PhotoBatch:
        rng = np.random.default_rng((self.seed, int(index)))
        chosen = [self.photos[place] for place in rng.integers(len(self.photos), size=self.dense)]
        views = [random_view(photo.image, photo.labels, self.dense_px, self.style, rng) for photo in chosen]
        tags = rng.choice(self.tag_choices, self.tagged, replace=False)
        tagged = [random_view(self.tagged_photos[tag], None, self.tagged_px, self.tagged_style, rng) for tag in tags]
        half = self.stride // 2
        labels = np.stack([labels[half :: self.stride, half :: self.stride] for _, labels in views])
        return PhotoBatch(
            _stack([image for image, _ in views]),
            torch.from_numpy(labels).long(),
            _stack([image for image, _ in tagged]),
            torch.from_numpy(tags),
        )


def _stack(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
