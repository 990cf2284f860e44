"""ADE20K full -> 847 classes, as evaluated by MaskFormer and its successors."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ovperc.data.annotations import AnnotationError, encode_annotation, read_annotation
from ovperc.data.label_map import load_label_map
from ovperc.data.layout import LayoutError
from ovperc.data.prepare.conversion import Conversion, Job

_SPLIT = "images/ADE/validation"
_SHORT_SIDE_PX = 512


class Ade847(Conversion):
    """``ADE_val_*.jpg`` with ``*_seg.png`` -> ``images_detectron2`` and ``annotations_detectron2``.

    An object's id is ``R // 10 * 256 + G`` of the ``_seg.png``; ids outside the 847 classes are void. Images and
    labels are resized to a short side of 512 px, images saved as JPEG of quality 75: published results were
    measured on such files.
    """

    name = "ade847"

    def jobs(self) -> tuple[Job, ...]:
        folder = self.root / _SPLIT
        self._images = {path.stem: path for path in sorted(folder.rglob("ADE_val_*.jpg"))}
        if not self._images:
            raise LayoutError(
                f"{folder}: expected ADE_val_*.jpg in scene folders, found none; unpack ADE20K_2021_17_01.zip "
                "and pass the folder ADE20K_2021_17_01"
            )
        return tuple(
            Job(
                stem,
                (f"images_detectron2/validation/{stem}.jpg", f"annotations_detectron2/validation/{stem}.tif"),
            )
            for stem in self._images
        )

    def convert(self, job: Job) -> Mapping[str, bytes]:
        source = self._images[job.key]
        image = _read_colours(source)
        coded = _read_colours(source.with_name(f"{source.stem}_seg.png"))
        if image.shape[:2] != coded.shape[:2]:
            raise AnnotationError(
                f"{source}: image of {image.shape[:2]} px, annotation of {coded.shape[:2]} px; copy both again"
            )
        objects = (coded[..., 0] // 10).astype(np.uint16) * 256 + coded[..., 1]
        labels = load_label_map("ade_full_to_847").apply(objects, source)
        image, labels = _shrink(image, labels)
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG")
        return dict(zip(job.targets, (stream.getvalue(), encode_annotation(labels, ".tif")), strict=True))


def _read_colours(path: Path) -> np.ndarray:
    """``(H, W, 3)`` uint8 as stored: EXIF rotation is not applied, matching the annotation."""
    colours = read_annotation(path)
    if colours.ndim == 2 and path.suffix == ".jpg":
        colours = np.repeat(colours[..., None], 3, axis=2)
    if colours.ndim != 3 or colours.shape[2] < 3:
        raise AnnotationError(f"{path}: expected an RGB object map, found shape {colours.shape}; copy it again")
    return colours[..., :3]


def _shrink(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Resizes both to a short side of at most 512 px."""
    height, width = labels.shape
    short = min(height, width)
    if short <= _SHORT_SIDE_PX:
        return image, labels
    size_wh = round(width / short * _SHORT_SIDE_PX), round(height / short * _SHORT_SIDE_PX)
    return (
        cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR),
        cv2.resize(labels, size_wh, interpolation=cv2.INTER_NEAREST),
    )
