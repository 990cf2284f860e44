"""Labelled images as mmsegmentation data samples."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

ChannelOrder = Literal["rgb", "bgr"]
CHANNEL_ORDERS: tuple[str, ...] = ("rgb", "bgr")


class LabelledImage(Protocol):
    """An annotated image.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` integers, class indices or the ignore index.
        name: unique in its source.
    """

    image: np.ndarray
    labels: np.ndarray
    name: str


class LabelledImages(Protocol):
    """A test set: named classes and annotated images.

    Attributes:
        classes: label -> name, including background if label 0 is background.

    Optional: ``groups``, subset name -> labels, evaluated separately.
    """

    classes: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> LabelledImage: ...


class SegmentationDataset(Dataset):
    """Labelled images in the format of mmseg's models and metrics.

    An item is ``{"inputs": (3, H, W) uint8, "data_samples": SegDataSample}``: the sample has the ground truth in
    ``gt_sem_seg`` ``(1, H, W)`` int64, and ``img_path``, ``index`` (in the source), ``ori_shape``, ``img_shape`` and
    ``channel_order`` as metainfo.

    Args:
        source: the images.
        limit: use the first ``limit`` images only; ``None`` for all.
        channel_order: channel order of ``inputs``; mmseg's own pipelines use ``bgr``.

    Attributes:
        indices: image indices in the source, in order.
    """

    def __init__(self, source: LabelledImages, limit: int | None = None, channel_order: ChannelOrder = "rgb") -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, or None for all images; got {limit}")
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(f"channel_order must be 'rgb' or 'bgr'; got {channel_order!r}")
        self.source = source
        self.channel_order = channel_order
        self.indices: Sequence[int] = range(len(source) if limit is None else min(limit, len(source)))
        if not self.indices:
            raise ValueError("the test set is empty; it needs at least one labelled image")

    def select(self, indices: Sequence[int]) -> SegmentationDataset:
        """A subset of the test set, by indices in the source."""
        chosen = copy.copy(self)
        chosen.indices = tuple(indices)
        return chosen

    @property
    def metainfo(self) -> dict[str, Any]:
        """Class names and label groups for the metrics."""
        groups = {name: tuple(labels) for name, labels in getattr(self.source, "groups", {}).items()}
        return {"classes": tuple(self.source.classes), "groups": groups}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self.indices):
            raise IndexError(f"index {index} is out of range for {len(self.indices)} images")
        sample = to_data_sample(self.source[self.indices[index]], self.channel_order)
        sample["data_samples"].set_metainfo({"index": self.indices[index]})
        return sample


def to_data_sample(item: LabelledImage, channel_order: ChannelOrder = "rgb") -> dict[str, Any]:
    """A labelled image in mmseg's format; see ``SegmentationDataset``.

    Raises:
        ValueError: image and label map do not match.
    """
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    check_sample(item)
    pixels = item.image if channel_order == "rgb" else item.image[..., ::-1]
    size = item.labels.shape
    sample = SegDataSample(
        metainfo={"img_path": item.name, "ori_shape": size, "img_shape": size, "channel_order": channel_order}
    )
    sample.gt_sem_seg = PixelData(data=torch.from_numpy(item.labels.astype(np.int64))[None])
    return {"inputs": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), "data_samples": sample}


def check_sample(item: LabelledImage) -> None:
    """Raises ValueError if image and label map do not match."""
    if item.image.ndim != 3 or item.image.shape[2] != 3 or item.image.dtype != np.uint8:
        raise ValueError(f"{item.name}: expected an image (H, W, 3) uint8; got {item.image.shape} {item.image.dtype}")
    if item.labels.shape != item.image.shape[:2]:
        raise ValueError(f"{item.name}: label map {item.labels.shape} does not match image {item.image.shape[:2]}")
