"""COCO panoptic format: segment ids encoded as PNG colours, and ``segments_info``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovperc.core.panoptic import PanopticMap, Segment
from ovperc.io.annotations import mask_annotation
from ovperc.io.ownership import png_mark

MAX_ID = (1 << 24) - 1


def write_ids(path: str | Path, ids: np.ndarray) -> None:
    """Writes segment ids ``(H, W)`` in 0..`MAX_ID` as an RGB PNG: ``id = R + 256 G + 65536 B``.

    Raises:
        ValueError: an id is out of range.
    """
    if ids.min() < 0 or ids.max() > MAX_ID:
        raise ValueError(f"segment ids to write must lie in 0..{MAX_ID}; got {ids.min()}..{ids.max()}")
    rgb = np.stack([ids >> shift & 0xFF for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(path, "PNG", pnginfo=png_mark())


def read_ids(path: str | Path) -> np.ndarray:
    """Reads segment ids ``(H, W)`` int32 from an RGB PNG.

    Raises:
        ValueError: the file is missing, corrupt, or not an RGB PNG.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode, rgb = image.mode, np.array(image, dtype=np.int32)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"cannot read the panoptic map {str(path)!r}: {error}") from error
    if mode != "RGB":
        raise ValueError(f"the panoptic map {str(path)!r} must be an RGB PNG; got mode {mode}")
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def segments_info(panoptic: PanopticMap, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """COCO's ``segments_info`` of a panoptic map, with a score per segment.

    Args:
        panoptic: panoptic map of an image.
        category_ids: label -> category id; by default the labels themselves.
    """
    return [_segment_info(panoptic, segment, category_ids) for segment in panoptic.segments]


def panoptic_categories(
    names: Sequence[str], things: Sequence[int], category_ids: Sequence[int] | None = None
) -> list[Mapping[str, Any]]:
    """COCO's ``categories``.

    Args:
        names: label -> name.
        things: labels of thing classes.
        category_ids: label -> category id; by default the labels themselves.
    """
    ids = range(len(names)) if category_ids is None else category_ids
    return [
        {"id": number, "name": name, "isthing": int(label in things)}
        for label, (number, name) in enumerate(zip(ids, names, strict=True))
    ]


def _segment_info(panoptic: PanopticMap, segment: Segment, category_ids: Sequence[int] | None) -> dict[str, Any]:
    found = mask_annotation(segment.label, segment.score, panoptic.mask(segment))
    left, top, right, bottom = found.box_xyxy
    return {
        "id": segment.id,
        "category_id": segment.label if category_ids is None else category_ids[segment.label],
        "area": int(found.area_px),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": int(segment.crowd),
        "score": segment.score,
    }
