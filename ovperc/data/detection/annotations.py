"""Annotation files in COCO's and LVIS's layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovperc.data.detection.coco_document import read_normalised
from ovperc.data.detection.sample import DetectionTruth
from ovperc.data.detection.splits import as_words, groups_of
from ovperc.data.layout import LayoutError


def read_annotations(
    path: str | Path,
    names: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    spoken: Callable[[str], str] = as_words,
    folders: Sequence[Path] = (),
) -> DetectionTruth:
    """Reads a file; labels count its categories by rising id, whatever gaps the ids have.

    Args:
        path: a JSON file with ``images``, ``annotations`` and ``categories``.
        names: keep these categories alone, by their words; annotations of others are dropped.
        groups: name of a subset -> words; left out, the file's own frequencies ``r``, ``c``, ``f`` if it has any.
        spoken: how a category's name becomes words.
        folders: where pictures may lie, for the sizes of images that state none.

    Raises:
        LayoutError: no such file, or it is not in this layout; a category that is asked for is not in it; an entry is
            wrong, and the message names it.
    """
    document = read_normalised(path, folders)
    categories = sorted(document["categories"], key=lambda row: row["id"])
    if names is not None:
        known = {spoken(row["name"]) for row in categories}
        if missing := [name for name in names if name not in known]:
            raise LayoutError(f"{path} lacks {len(missing)} of the categories that are asked for, such as {missing[0]}")
        categories = [row for row in categories if spoken(row["name"]) in set(names)]
    kept = {row["id"] for row in categories}
    words = tuple(spoken(row["name"]) for row in categories)
    return DetectionTruth(
        tuple(sorted(document["images"], key=lambda row: row["id"])),
        tuple(row for row in document["annotations"] if row["category_id"] in kept),
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


def _frequencies(categories: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Labels of rare, common and frequent categories, of files that say so."""
    found = {
        group: tuple(label for label, row in enumerate(categories) if row.get("frequency") == group) for group in "rcf"
    }
    return {group: labels for group, labels in found.items() if labels}
