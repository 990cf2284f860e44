"""A training batch of images with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovperc.registry import FUNCTIONS

BACKGROUND = -1
"""Label of a region that shows none of the classes."""
IGNORE = -2
"""Label of a region that says nothing about these classes."""


@dataclass(frozen=True)
class DetectionBatch:
    """Images of one size and what is in them.

    Attributes:
        images: ``(B, 3, H, W)`` uint8 RGB.
        boxes: one ``(n_i, 4)`` float32 per image, xyxy px.
        labels: one ``(n_i, V)`` int64 per image: label of each object in each of ``V`` vocabularies.
        masks: one ``(n_i, H, W)`` bool per image; None where only boxes are known.
        regions: one ``(P_i, 4)`` float32 per image, boxes whose embeddings a teacher has stored; None for none.
        features: one ``(P_i, E)`` float32 per image, the teacher's embeddings of ``regions``.
    """

    images: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    masks: tuple[Tensor, ...] | None = None
    regions: tuple[Tensor, ...] | None = None
    features: tuple[Tensor, ...] | None = None

    def __post_init__(self) -> None:
        batch = len(self.images)
        for name in ("boxes", "labels", "masks", "regions", "features"):
            parts = getattr(self, name)
            if parts is not None and len(parts) != batch:
                raise ValueError(f"{name} must have one entry for each of the {batch} images; got {len(parts)}")
        for boxes, labels in zip(self.boxes, self.labels, strict=True):
            if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.ndim != 2 or len(labels) != len(boxes):
                raise ValueError(
                    "boxes must be (n, 4) and labels (n, V) of the same n; got "
                    f"{tuple(boxes.shape)} and {tuple(labels.shape)}"
                )
            if not torch.isfinite(boxes).all():
                raise ValueError("boxes must be finite; an annotation holds NaN or infinity")

    def to(self, device: torch.device | str) -> DetectionBatch:
        """The same batch on a device."""
        moved = {
            name: None if parts is None else tuple(part.to(device) for part in parts)
            for name, parts in vars(self).items()
            if name != "images"
        }
        return DetectionBatch(self.images.to(device), **moved)


def join(parts: Sequence[DetectionBatch]) -> DetectionBatch:
    """Several batches of one image size as one; what one of them lacks is left out of all."""
    if len(parts) == 1:
        return parts[0]

    def joined(name: str) -> tuple[Tensor, ...] | None:
        entries = [getattr(part, name) for part in parts]
        return None if any(entry is None for entry in entries) else tuple(row for entry in entries for row in entry)

    rest = {name: joined(name) for name in ("boxes", "labels", "masks", "regions", "features")}
    return DetectionBatch(torch.cat([part.images for part in parts]), **rest)


@FUNCTIONS.register_module()
def join_batches(parts: Sequence[DetectionBatch]) -> dict[str, DetectionBatch]:
    """Collate function: keywords of the model's ``forward``, the only form that mmengine's DDP takes."""
    return {"batch": join(parts)}
