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
    """Decodes compressed COCO RLE to a mask ``(H, W)`` bool.

    Raises:
        ValueError: damaged counts, or runs that do not cover the mask.
    """
    height, width = code["size"]
    counts = code["counts"].encode()
    # pycocotools leaves what the runs do not cover as it was in memory.
    if _covered(counts) != height * width:
        raise ValueError(f"a mask cannot be decoded (its runs do not cover {height} x {width} px)")
    return coco_mask.decode({"size": [height, width], "counts": counts}).astype(bool)


def _covered(counts: bytes) -> int:
    """Sum of the runs of compressed counts.

    A run is written in characters of 5 bits from the lowest on, offset by 48, the sixth bit marking that more follow
    and the highest bit of the last its sign; from the fourth run on it is the difference to the run before the last.
    """
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("a mask cannot be decoded (its counts are damaged)")
    last = np.flatnonzero((digits & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    length = last - first + 1
    if length.max() > 12:
        raise ValueError("a mask cannot be decoded (its counts are damaged)")
    place = np.arange(len(digits)) - np.repeat(first, length)
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    values -= np.where(digits[last] & 16, 1 << (5 * length), 0)
    runs = values.copy()
    for start in (1, 2):  # differences add up along every second run
        runs[start::2] = np.cumsum(values[start::2])
    if (runs < 0).any():
        raise ValueError("a mask cannot be decoded (its counts are damaged)")
    return int(runs.sum())


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
    if _covered(counts if isinstance(counts, bytes) else counts.encode()) != height * width:
        raise ValueError(f"a mask cannot be decoded (its runs do not cover {height} x {width} px)")
    return {"size": size, "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
