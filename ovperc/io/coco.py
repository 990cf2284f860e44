"""Masks as COCO RLE (run-length encoding)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encodes a mask ``(H, W)`` bool as compressed COCO RLE, ready for JSON."""
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def decode_rle(code: Mapping[str, Any]) -> np.ndarray:
    """Decodes compressed COCO RLE to a mask ``(H, W)`` bool."""
    return coco_mask.decode({"size": code["size"], "counts": code["counts"].encode("ascii")}).astype(bool)


def to_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Converts any COCO segmentation (polygons, compressed or uncompressed RLE) to compressed RLE.

    Raises:
        ValueError: the input is not a COCO segmentation, or has another size.
    """
    height, width = size_hw
    try:
        code = segmentation
        if isinstance(segmentation, list):
            code = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            code = coco_mask.frPyObjects(segmentation, height, width)
        size, counts = [int(side) for side in code["size"]], code["counts"]
    except Exception as error:  # pycocotools raises a bare Exception on invalid input
        raise ValueError(f"a mask cannot be decoded ({error})") from error
    if size != [height, width]:
        raise ValueError(f"expected a mask of {size_hw} px, found {tuple(size)}")
    return {"size": size, "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
