"""PASCAL VOC's boxes: one XML file per picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ovperc.data.detection.sample import DetectionTruth
from ovperc.data.layout import LayoutError, relative_name

# fmt: off
VOC_CLASSES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
_SPOKEN = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}


def read_voc(root: str | Path, split: str = "test") -> DetectionTruth:
    """Boxes of a split of ``VOCdevkit/VOC2007`` (or 2012); difficult objects are crowds, which do not count.

    VOC counts pixels from 1 and includes the last one; here edges are excluded and counted from 0.

    Raises:
        LayoutError: a file is missing or damaged, or names an unknown class.
    """
    root = Path(root)
    listing = root / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        raise LayoutError(f"there is no {listing}; pass the folder that holds ImageSets, Annotations and JPEGImages")
    names = [relative_name(name, f"{listing}: a name") for name in listing.read_text(encoding="utf-8-sig").split()]
    images, annotations = [], []
    for number, name in enumerate(names, start=1):
        tree = _parse(root / "Annotations" / f"{name}.xml")
        images.append(
            {
                "id": number,
                "file_name": f"{name}.jpg",
                "height": int(_number(tree, "size/height", name)),
                "width": int(_number(tree, "size/width", name)),
            }
        )
        for item in tree.findall("object"):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_object(item, name)})
    spoken = tuple(_SPOKEN.get(name, name) for name in VOC_CLASSES)
    return DetectionTruth(tuple(images), tuple(annotations), tuple(range(1, len(VOC_CLASSES) + 1)), spoken)


def _object(item: ElementTree.Element, name: str) -> dict[str, Any]:
    kind = _text(item, "name", name)
    if kind not in VOC_CLASSES:
        raise LayoutError(f"{name}.xml names {kind!r}, which is no class of VOC")
    x0, y0, x1, y1 = (_number(item, f"bndbox/{side}", name) for side in ("xmin", "ymin", "xmax", "ymax"))
    width, height = x1 - x0 + 1, y1 - y0 + 1
    return {
        "category_id": VOC_CLASSES.index(kind) + 1,
        "bbox": [x0 - 1, y0 - 1, width, height],
        "area": width * height,
        "iscrowd": int(item.findtext("difficult", "0").strip() == "1"),
    }


def _parse(path: Path) -> ElementTree.ElementTree:
    try:
        return ElementTree.parse(path)
    except FileNotFoundError as error:
        raise LayoutError(f"there is no annotation file {path}") from error
    except ElementTree.ParseError as error:
        raise LayoutError(f"{path} is damaged: {error}") from error


def _number(tree: Any, path: str, name: str) -> float:
    text = _text(tree, path, name)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise LayoutError(f"{name}.xml: {path} must be a finite number; got {text[:80]!r}")
    return number


def _text(tree: Any, path: str, name: str) -> str:
    found = tree.findtext(path)
    if found is None:
        raise LayoutError(f"{name}.xml has no {path}")
    return found.strip()
