"""Label maps in the COCO layout: one run-length mask per class."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed run-length code of a mask ``(H, W)`` bool, ready for JSON."""
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def decode_rle(code: Mapping[str, Any]) -> np.ndarray:
    """The mask ``(H, W)`` bool of a compressed run-length code."""
    return coco_mask.decode({"size": code["size"], "counts": code["counts"].encode("ascii")}).astype(bool)


def to_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Any COCO segmentation (polygons, compressed or uncompressed run lengths) as a compressed run-length code.

    Raises:
        ValueError: not a segmentation, or one of another size.
    """
    height, width = size_hw
    try:
        code = segmentation
        if isinstance(segmentation, list):
            code = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            code = coco_mask.frPyObjects(segmentation, height, width)
        size, counts = [int(side) for side in code["size"]], code["counts"]
    except Exception as error:  # pycocotools raises bare Exception for what it cannot read
        raise ValueError(f"a mask cannot be decoded ({error})") from error
    if size != [height, width]:
        raise ValueError(f"expected a mask of {size_hw} px, found {tuple(size)}")
    return {"size": size, "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def labels_to_coco(
    labels: np.ndarray,
    confidence: np.ndarray,
    names: Sequence[str],
    file_name: str,
    skip: Collection[int] = (),
) -> dict[str, Any]:
    """A COCO document of one image, which pycocotools and annotation tools read.

    Args:
        labels: ``(H, W)`` integers.
        confidence: ``(H, W)`` float; the score of an annotation is its mean over the mask.
        names: label -> name; all are categories, with the label as id.
        file_name: of the image.
        skip: labels that get no annotation, such as background.

    Returns:
        A dict with ``images`` (one, id 1), ``categories``, and ``annotations`` (one per class that is present:
        mask, box ``xywh`` px, area px, score, ``iscrowd`` 0).
    """
    height, width = labels.shape
    annotations = []
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=len(names))):
        if int(label) in skip:
            continue
        mask = labels == label
        code = encode_rle(mask)
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 1,
                "category_id": int(label),
                "segmentation": code,
                "area": int(mask.sum()),
                "bbox": [float(side) for side in coco_mask.toBbox(code)],
                "iscrowd": 0,
                "score": float(confidence[mask].mean(dtype=np.float64)),
            }
        )
    return {
        "images": [{"id": 1, "file_name": file_name, "width": width, "height": height}],
        "categories": [{"id": label, "name": name} for label, name in enumerate(names)],
        "annotations": annotations,
    }
