"""Annotation files in COCO's and LVIS's layout."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovperc.data.detection.sample import DetectionTruth
from ovperc.data.detection.splits import as_words, groups_of
from ovperc.data.layout import LayoutError

_PARTS = ("images", "annotations", "categories")


def read_annotations(
    path: str | Path,
    names: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    spoken: Callable[[str], str] = as_words,
) -> DetectionTruth:
    """Reads a file; labels count its categories by rising id, whatever gaps the ids have.

    Args:
        path: a JSON file with ``images``, ``annotations`` and ``categories``.
        names: keep these categories alone, by their words; annotations of others are dropped.
        groups: name of a subset -> words; left out, the file's own frequencies ``r``, ``c``, ``f`` if it has any.
        spoken: how a category's name becomes words.

    Raises:
        LayoutError: no such file, or it is not in this layout; a category that is asked for is not in it; an
            annotation names an unknown image or category, or holds numbers that are not finite.
    """
    document = read_document(path)
    categories = sorted(document["categories"], key=lambda row: row["id"])
    if not categories:
        raise LayoutError(f"{path} has 0 categories; it asks for nothing: take the file with categories")
    every = {row["id"] for row in categories}
    if names is not None:
        known = {spoken(row["name"]) for row in categories}
        if missing := [name for name in names if name not in known]:
            raise LayoutError(f"{path} lacks {len(missing)} of the categories that are asked for, such as {missing[0]}")
        categories = [row for row in categories if spoken(row["name"]) in set(names)]
    kept = {row["id"] for row in categories}
    images = {row["id"]: row for row in document["images"]}
    annotations = []
    for row in document["annotations"]:
        _check(row, images, every, path)
        if row["category_id"] in kept:
            annotations.append(row)
    words = tuple(spoken(row["name"]) for row in categories)
    return DetectionTruth(
        tuple(images[number] for number in sorted(images)),
        tuple(annotations),
        tuple(row["id"] for row in categories),
        words,
        groups_of(words, groups) if groups is not None else _frequencies(categories),
    )


def with_boxes_only(truth: DetectionTruth) -> DetectionTruth:
    """Without the images that have no annotation left."""
    used = {row["image_id"] for row in truth.annotations}
    return replace(truth, images=tuple(row for row in truth.images if row["id"] in used))


def without_labels(truth: DetectionTruth, labels: Sequence[int]) -> DetectionTruth:
    """Without the annotations of some classes, whose labels and names stay."""
    dropped = {truth.category_ids[label] for label in labels}
    kept = tuple(row for row in truth.annotations if row["category_id"] not in dropped)
    return replace(truth, annotations=kept)


def read_document(path: str | Path) -> dict[str, Any]:
    """The lists of an annotation file.

    Raises:
        LayoutError: no such file, or it is not in COCO's layout.
    """
    path = Path(path)
    if not path.is_file():
        raise LayoutError(f"there is no annotation file {path}")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LayoutError(f"{path} is damaged or no JSON: {error}") from error
    if not isinstance(document, dict) or any(not isinstance(document.get(part), list) for part in _PARTS):
        raise LayoutError(f"{path} is no annotation file: it needs the lists {', '.join(_PARTS)}")
    return document


def _check(row: Mapping[str, Any], images: Mapping[int, Any], categories: set[int], path: str | Path) -> None:
    if row["image_id"] not in images:
        raise LayoutError(f"{path}: annotation {row.get('id')} is of image {row['image_id']}, which is not listed")
    if row["category_id"] not in categories:
        number = row["category_id"]
        raise LayoutError(f"{path}: annotation {row.get('id')} is of category {number}, which is not listed")
    box = row["bbox"]
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise LayoutError(f"{path}: the box of annotation {row.get('id')} must be four finite numbers; got {box}")


def _frequencies(categories: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Labels of rare, common and frequent categories, of files that say so."""
    found = {
        group: tuple(label for label, row in enumerate(categories) if row.get("frequency") == group) for group in "rcf"
    }
    return {group: labels for group, labels in found.items() if labels}
