"""The labelled photographs that photo-mini is trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovperc.data.layout import LayoutError, resolve_root
from ovperc.data.photo.class_words import coco_categories
from ovperc.data.photo.views import UNLABELLED


@dataclass(frozen=True)
class LabelledPhoto:
    """A photograph with a class for each pixel.

    Attributes:
        name: stem of its file.
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` int16, position of the class in :func:`coco_names`; ``UNLABELLED`` elsewhere.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray


def read_coco_sample(
    split: str = "train2017", root: str | Path | None = None, hidden: Iterable[str] = ()
) -> tuple[LabelledPhoto, ...]:
    """The densely labelled images of a side of ``coco_sample``, by name.

    Args:
        split: ``train2017`` or ``val2017``.
        root: the folder ``coco_sample``, or the folder of all data sets; None takes ``$OVPERC_DATA``.
        hidden: classes, by their published names, whose pixels are left unlabelled.

    Raises:
        LayoutError: the images are not there.
        ValueError: ``hidden`` names a class that does not exist.
    """
    folder, categories = resolve_root(root, "coco_sample"), coco_categories(root)
    unknown = set(hidden) - set(categories.values())
    if unknown:
        raise ValueError(f"hidden names no class of coco_sample: {', '.join(sorted(unknown))}")
    index = np.full(256, UNLABELLED, np.int16)
    for position, number in enumerate(sorted(categories)):
        if categories[number] not in set(hidden):
            index[number] = position
    maps = sorted((folder / "semantic" / split).glob("*.png"))
    if not maps:
        raise LayoutError(f"{folder}: expected label maps in semantic/{split}, found none")
    return tuple(
        LabelledPhoto(path.stem, _read_rgb(folder / "images" / split / f"{path.stem}.jpg"), index[_read(path)])
        for path in maps
    )


def read_imagenet_sample(root: str | Path | None = None) -> tuple[np.ndarray, ...]:
    """One photograph of each ImageNet-1k class in the order of the class index, ``(H, W, 3)`` uint8 RGB.

    Raises:
        LayoutError: there are not 1,000 of them.
    """
    folder = resolve_root(root, "imagenet_1000")
    files = sorted(folder.glob("n*_*.jpg"))
    if len(files) != 1000:
        raise LayoutError(f"{folder}: expected 1000 files named wnid_class_name.jpg, found {len(files)}")
    return tuple(map(_read_rgb, files))


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def _read_rgb(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def class_frequencies(root: str | Path | None = None) -> Tensor:
    """Share of the labelled pixels of ``train2017`` that each class has; ``(133,)`` float32."""
    photos = read_coco_sample("train2017", root)
    counts = sum(np.bincount(photo.labels[photo.labels >= 0], minlength=len(coco_categories(root))) for photo in photos)
    return torch.from_numpy(counts / counts.sum()).float()
