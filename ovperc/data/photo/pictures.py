"""The labelled photographs that photo-mini is trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovperc.data.label_map import load_label_map
from ovperc.data.layout import LayoutError, resolve_root
from ovperc.data.photo.class_words import coco_names
from ovperc.data.photo.views import IGNORED
from ovperc.data.segmentation.sets import COCO_SAMPLE


@dataclass(frozen=True)
class LabelledPhoto:
    """A photograph with a class for each pixel.

    Attributes:
        name: stem of its file.
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` uint8, position of the class in :func:`coco_names`; ``IGNORED`` elsewhere.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray


def read_coco_sample(
    split: str = "train2017", root: str | Path | None = None, hidden: Iterable[str] = ()
) -> tuple[LabelledPhoto, ...]:
    """The densely labelled images of a side of ``coco-sample``, by name.

    Args:
        split: ``train2017`` or ``val2017``.
        root: the folder ``coco_sample``, or the folder of all data sets; None takes ``$OVPERC_DATA``.
        hidden: classes of :func:`coco_names` whose pixels are left unlabelled.

    Raises:
        LayoutError: the images are not there.
        ValueError: ``hidden`` names a class that does not exist, or there is no such split.
    """
    names, label_map = coco_names(), load_label_map("coco_panoptic")
    unknown = set(hidden) - set(names)
    if unknown:
        raise ValueError(f"hidden names no class of coco-sample: {', '.join(sorted(unknown))}")
    covered = [names.index(name) for name in hidden]
    photos = []
    for sample in COCO_SAMPLE.layout.of_split(split).samples(resolve_root(root, *COCO_SAMPLE.folders)):
        labels = label_map.apply(_read(sample.annotation), sample.annotation)
        labels[np.isin(labels, covered)] = IGNORED
        photos.append(LabelledPhoto(sample.name, _read_rgb(sample.image), labels))
    return tuple(photos)


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
    counts = np.zeros(IGNORED + 1)
    for photo in read_coco_sample("train2017", root):
        counts += np.bincount(photo.labels.ravel(), minlength=len(counts))
    counts = counts[: len(coco_names())]
    return torch.from_numpy(counts / counts.sum()).float()
