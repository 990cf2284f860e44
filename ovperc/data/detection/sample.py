"""One image with its objects, and the contract of a set of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ovperc.io.coco import decode_rle

Rle = Mapping[str, Any]


@dataclass(frozen=True)
class DetectionSample:
    """An image and the objects that are annotated in it.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        boxes: ``(N, 4)`` float32, ``x0, y0, x1, y1`` px, right and bottom edges excluded.
        labels: ``(N,)`` int64, index into the set's classes.
        masks: one COCO run-length code per object, of the image's size; empty where the set has boxes alone.
        crowd: ``(N,)`` bool; what is found there counts neither for nor against a detector.
        image_id: of the annotation file.
        name: unique in its set.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: tuple[Rle, ...]
    crowd: np.ndarray
    image_id: int
    name: str

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.boxes.shape != (count, 4) or self.crowd.shape != (count,) or len(self.masks) not in (0, count):
            raise ValueError(
                f"a sample of {count} labels needs boxes ({count}, 4), crowd ({count},) and as many masks or none; "
                f"got {self.boxes.shape}, {self.crowd.shape} and {len(self.masks)}"
            )

    def dense_masks(self) -> np.ndarray:
        """Masks as ``(N, H, W)`` bool; for small images, as it takes a byte a pixel and object."""
        size = self.image.shape[:2]
        return np.stack([decode_rle(mask) for mask in self.masks]) if self.masks else np.zeros((0, *size), bool)


@dataclass(frozen=True)
class DetectionTruth:
    """All annotations of a set, without its images.

    Attributes:
        images: rows of the annotation file: ``id``, ``height``, ``width``, and for federated sets
            ``neg_category_ids`` and ``not_exhaustive_category_ids``.
        annotations: rows with ``id``, ``image_id``, ``category_id``, ``bbox`` (``xywh`` px), ``area``, ``iscrowd``
            and, where there are masks, ``segmentation``.
        category_ids: label -> category id; ids may have gaps.
        names: label -> words.
        groups: name of a subset -> its labels, such as ``base`` and ``novel``.
    """

    images: tuple[Mapping[str, Any], ...]
    annotations: tuple[Mapping[str, Any], ...]
    category_ids: tuple[int, ...]
    names: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.category_ids:
            raise ValueError("an annotation file with 0 categories asks for nothing; it needs at least one")
        if len(self.category_ids) != len(self.names) or len(set(self.category_ids)) != len(self.category_ids):
            raise ValueError(
                f"every category needs one name and an id of its own; got {len(self.category_ids)} ids "
                f"({len(set(self.category_ids))} different) and {len(self.names)} names"
            )

    def document(self) -> dict[str, Any]:
        """The annotations in COCO's layout, as pycocotools reads them: numbered from 1, as it takes 0 for no match."""
        pairs = zip(self.category_ids, self.names, strict=True)
        return {
            "images": [dict(row) for row in self.images],
            "annotations": [{**row, "id": number} for number, row in enumerate(self.annotations, start=1)],
            "categories": [{"id": number, "name": name} for number, name in pairs],
        }


class DetectionImages(Protocol):
    """A set of images with boxes.

    Attributes:
        classes: label -> words.
        groups: name of a subset -> its labels, to be scored apart: ``base`` and ``novel``, or ``r``, ``c``, ``f``.
    """

    classes: Sequence[str]
    groups: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DetectionSample: ...

    def truth(self, indices: Sequence[int] | None = None) -> DetectionTruth:
        """All annotations, or those of some images."""


def truth_of_samples(
    samples: Sequence[DetectionSample], names: Sequence[str], groups: Mapping[str, tuple[int, ...]]
) -> DetectionTruth:
    """Annotations of generated images; category ids count labels from 1, as COCO does."""
    images, annotations = [], []
    for sample in samples:
        height, width = sample.image.shape[:2]
        images.append({"id": sample.image_id, "height": height, "width": width, "file_name": sample.name})
        masks = sample.masks or (None,) * len(sample.labels)
        rows = zip(sample.boxes.tolist(), sample.labels.tolist(), masks, sample.crowd.tolist(), strict=True)
        for (x0, y0, x1, y1), label, mask, crowd in rows:
            row: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": sample.image_id,
                "category_id": label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": float((x1 - x0) * (y1 - y0)) if mask is None else float(decode_rle(dict(mask)).sum()),
                "iscrowd": int(crowd),
            }
            annotations.append(row if mask is None else {**row, "segmentation": mask})
    return DetectionTruth(
        tuple(images), tuple(annotations), tuple(range(1, len(names) + 1)), tuple(names), dict(groups)
    )
