"""YOLO's boxes: one text file per picture, ``class cx cy w h`` in fractions of its sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ovperc.data.detection.sample import DetectionTruth
from ovperc.data.layout import LayoutError, contents_of


def read_yolo(images: Path, labels: Path, names: Sequence[str]) -> DetectionTruth:
    """Boxes of all pictures that have a label file, in order of name; an empty file is a picture without objects.

    Args:
        images: folder of ``NAME.jpg``.
        labels: folder of ``NAME.txt``.
        names: class index -> words.

    Raises:
        LayoutError: no label files, or one that is damaged or lacks its picture.
    """
    files = sorted(labels.glob("*.txt"))
    if not files:
        raise LayoutError(f"{labels}: expected label files *.txt, found {contents_of(labels)}")
    pictures: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, file in enumerate(files, start=1):
        width, height = _size_wh(images / f"{file.stem}.jpg")
        pictures.append({"id": number, "file_name": f"{file.stem}.jpg", "height": height, "width": width})
        for line in file.read_text(encoding="utf-8").splitlines():
            label, box = _parse(line, file, len(names))
            x, y, w, h = (value * side for value, side in zip(box, (width, height, width, height), strict=True))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [x - w / 2, y - h / 2, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
    return DetectionTruth(tuple(pictures), tuple(annotations), tuple(range(1, len(names) + 1)), tuple(names))


def _size_wh(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise LayoutError(f"{path}: the picture of a label file is missing or damaged ({error})") from error


def _parse(line: str, file: Path, classes: int) -> tuple[int, tuple[float, ...]]:
    try:
        label, *box = line.split()
        values = tuple(map(float, box))
        if len(values) == 4 and all(map(math.isfinite, values)) and 0 <= int(label) < classes:
            return int(label), values
    except ValueError:
        pass
    raise LayoutError(f"{file}: expected lines 'class cx cy w h' with a class below {classes}; got {line!r}")
