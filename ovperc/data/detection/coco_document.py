"""COCO's annotation files as people write them, brought to one form before the first picture is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ovperc.core.errors import ImageError
from ovperc.data.layout import LayoutError, relative_name
from ovperc.io.coco import decode_rle, to_rle
from ovperc.io.images import image_size_hw

_PARTS = ("images", "annotations", "categories")
_LEAST_COORDINATES = 6
_MAX_SIDE_PX = 10**6


def read_document(path: str | Path) -> dict[str, Any]:
    """The lists of an annotation file.

    Raises:
        LayoutError: no such file, or it is not in COCO's layout.
    """
    path = Path(path)
    if not path.is_file():
        raise LayoutError(f"there is no annotation file {path}")
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{path} is damaged or no JSON: {error}") from error
    if not isinstance(document, dict) or any(not isinstance(document.get(part), list) for part in _PARTS):
        raise LayoutError(f"{path} is no annotation file: it needs the lists {', '.join(_PARTS)}")
    for part in _PARTS:
        for number, row in enumerate(document[part]):
            if not isinstance(row, dict):
                raise LayoutError(f"{path}: entry {number} of {part} must be an object; got {_shown(row)}")
    return document


def read_normalised(path: str | Path, folders: Sequence[Path] = ()) -> dict[str, list[dict[str, Any]]]:
    """An annotation file with what the layout lets people leave out or write differently.

    Ids of any type become integers: integers stay, others are numbered from 1 in the file's order. Boxes may be
    missing or null where there is a segmentation; ``area`` and ``iscrowd`` are derived; polygons may be one flat list
    or lists of points; numbers may be strings.

    Args:
        path: a JSON file with ``images``, ``annotations`` and ``categories``.
        folders: where pictures may lie, for the sizes of images that state none.

    Returns:
        ``images`` with integer ``id``, ``height`` and ``width``; ``categories`` with integer ``id`` and ``name``;
        ``annotations`` with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in px), ``area`` (px),
        ``iscrowd`` and, where there is one, ``segmentation`` (polygons or a run-length code).

    Raises:
        LayoutError: no such file, another layout, or a wrong entry; the message names file, entry and field.
    """
    document = read_document(path)
    if not document["categories"]:
        raise LayoutError(f"{path} has 0 categories; it asks for nothing: take the file with categories")
    categories, category_ids = _numbered(document["categories"], f"{path}: category")
    for row in categories:
        if isinstance(row.get("name"), (dict, list, bool, type(None))) or not str(row["name"]).strip():
            raise LayoutError(f"{path}: category {row['id']} needs a name; got {_shown(row.get('name'))}")
        row["name"] = str(row["name"])
    images, image_ids = _numbered(document["images"], f"{path}: image")
    for row in images:
        _check_image(row, f"{path}: image {row['id']}", folders)
    sizes = {row["id"]: (row["height"], row["width"]) for row in images}
    annotations = []
    for position, row in enumerate(document["annotations"]):
        where = f"{path}: annotation {row.get('id', f'number {position + 1}')}"
        image = _reference(row, "image_id", image_ids, where, "image")
        category = _reference(row, "category_id", category_ids, where, "category")
        annotations.append(_annotation({**row, "image_id": image, "category_id": category}, sizes[image], where))
    return {"images": images, "annotations": annotations, "categories": categories}


def _numbered(rows: Sequence[Mapping[str, Any]], where: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows with integer ids, and the text of each id in the file -> that integer."""
    integers = all(type(row.get("id")) is int for row in rows)
    numbers: dict[str, int] = {}
    numbered = []
    for position, row in enumerate(rows):
        text = _id_text(row.get("id"))
        if text is None:
            raise LayoutError(
                f"{where} number {position + 1} needs an id, a number or text; got {_shown(row.get('id'))}"
            )
        if text in numbers:
            raise LayoutError(f"{where} {text} is listed twice; every id may stand for one entry only")
        numbers[text] = row["id"] if integers else position + 1
        numbered.append({**row, "id": numbers[text]})
    return numbered, numbers


def _id_text(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) and value != "" else None


def _reference(row: Mapping[str, Any], field: str, known: Mapping[str, int], where: str, what: str) -> int:
    text = _id_text(row.get(field))
    if text is None:
        raise LayoutError(f"{where} needs {field}, a number or text; got {_shown(row.get(field))}")
    if text not in known:
        raise LayoutError(f"{where} is of {what} {_shown(row[field])}, which is not listed")
    return known[text]


def _check_image(row: dict[str, Any], where: str, folders: Sequence[Path]) -> None:
    """Checks the file name, and fills in the size."""
    if "file_name" in row:
        row["file_name"] = relative_name(row["file_name"], f"{where}: file_name")
    if row.get("height") is None or row.get("width") is None:
        row["height"], row["width"] = _size_of_file(row, where, folders)
    for side in ("height", "width"):
        value = _number(row[side])
        if value is None or not 1 <= value <= _MAX_SIDE_PX:
            raise LayoutError(f"{where}: {side} must be a number of pixels; got {_shown(row[side])}")
        row[side] = int(value)


def _size_of_file(row: Mapping[str, Any], where: str, folders: Sequence[Path]) -> tuple[int, int]:
    places = [folder / str(row.get("file_name")) for folder in folders]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise LayoutError(f"{where} has no height and width, and its file is not there to tell them")
    try:
        return image_size_hw(found)
    except ImageError as error:
        raise LayoutError(f"{where} has no height and width: {error}") from error


def _annotation(row: dict[str, Any], size_hw: tuple[int, int], where: str) -> dict[str, Any]:
    box = None if row.get("bbox") in (None, []) else _box(row["bbox"], where)
    segmentation = _segmentation(row.pop("segmentation", None), size_hw, where)
    if segmentation is not None:
        row["segmentation"] = segmentation
    elif box is None:
        raise LayoutError(f"{where} has neither a box nor a segmentation")
    row["bbox"] = _box_of(segmentation, size_hw, where) if box is None else box
    area = _number(row.get("area"))
    if row.get("area") is not None and area is None:
        raise LayoutError(f"{where}: area must be a number of pixels; got {_shown(row['area'])}")
    row["area"] = _area(row, size_hw, where) if area is None else area
    crowd = row.get("iscrowd")
    if crowd not in (None, 0, 1, "0", "1"):
        raise LayoutError(f"{where}: iscrowd must be 0 or 1; got {_shown(crowd)}")
    row["iscrowd"] = int(crowd or 0)
    return row


def _box(box: Any, where: str) -> list[float]:
    values = [_number(value) for value in box] if isinstance(box, list) else []
    numbers = [value for value in values if value is not None]
    if len(values) != 4 or len(numbers) != 4:
        raise LayoutError(f"{where}: bbox must be four finite numbers, x, y, width and height in px; got {_shown(box)}")
    return numbers


def _segmentation(value: Any, size_hw: tuple[int, int], where: str) -> Any:
    """Polygons or a run-length code; None where there is none."""
    if value is None or value == [] or value == {}:
        return None
    if isinstance(value, dict):
        if not isinstance(value.get("counts"), (str, list)) or value.get("size") != list(size_hw):
            raise LayoutError(
                f"{where}: a run-length segmentation needs counts and the size [height, width] of its image, "
                f"{list(size_hw)}; got the size {_shown(value.get('size'))}"
            )
        return _rle(value, size_hw, where)
    if not isinstance(value, list):
        raise LayoutError(f"{where}: segmentation must be polygons or a run-length code; got {_shown(value)}")
    flat = any(not isinstance(ring, list) for ring in value)
    points = all(isinstance(ring, list) and len(ring) == 2 and not isinstance(ring[0], list) for ring in value)
    rings = [value] if flat or points else value
    polygons = [polygon for ring in rings if (polygon := _polygon(ring, where))]
    return polygons or None


def _polygon(ring: list[Any], where: str) -> list[float]:
    """One polygon as ``x, y, x, y, ...``; empty where it is."""
    flat = [part for point in ring for part in (point if isinstance(point, list) else [point])]
    numbers = [number for part in flat if (number := _number(part)) is not None]
    if len(numbers) != len(flat) or len(flat) % 2 or 0 < len(flat) < _LEAST_COORDINATES:
        raise LayoutError(
            f"{where}: a polygon needs an even count of finite numbers, x and y of three points or more; "
            f"got {len(flat)}: {_shown(ring)}"
        )
    return numbers


def _box_of(segmentation: Any, size_hw: tuple[int, int], where: str) -> list[float]:
    if isinstance(segmentation, list):
        xs = [value for polygon in segmentation for value in polygon[0::2]]
        ys = [value for polygon in segmentation for value in polygon[1::2]]
        return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    mask = decode_rle(segmentation)
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    if not len(rows):
        raise LayoutError(f"{where} has no box, and its mask is empty")
    x, y = float(columns[0]), float(rows[0])
    return [x, y, float(columns[-1] + 1) - x, float(rows[-1] + 1) - y]


def _area(row: Mapping[str, Any], size_hw: tuple[int, int], where: str) -> float:
    if "segmentation" in row:
        return float(decode_rle(_rle(row["segmentation"], size_hw, where)).sum())
    return row["bbox"][2] * row["bbox"][3]


def _rle(segmentation: Any, size_hw: tuple[int, int], where: str) -> dict[str, Any]:
    try:
        return to_rle(segmentation, size_hw)
    except ValueError as error:
        raise LayoutError(f"{where}: {error}") from error


def _number(value: Any) -> float | None:
    """A finite number, also one written as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return value if isinstance(value, int) else number


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
