"""Label maps and confidence maps as 16-bit PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ovperc.io.ownership import png_mark

_CONFIDENCE_STEPS = 65535


def write_labels(path: str | Path, labels: np.ndarray) -> None:
    """Writes labels ``(H, W)`` uint16 as a 16-bit greyscale PNG; the grey value is the label."""
    if labels.dtype != np.uint16 or labels.ndim != 2:
        raise ValueError(f"labels to write must be (H, W) uint16; got {labels.shape} {labels.dtype}")
    Image.fromarray(np.ascontiguousarray(labels)).save(path, "PNG", pnginfo=png_mark())


def read_labels(path: str | Path) -> np.ndarray:
    """Reads labels ``(H, W)`` uint16 from an 8- or 16-bit greyscale PNG.

    Raises:
        ValueError: the file is missing, corrupt, or not a greyscale PNG.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            values = np.array(image)
            grey = image.mode in ("L", "I", "I;16", "I;16B")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"cannot read the label map {str(path)!r}: {error}") from error
    if not grey:
        raise ValueError(f"the label map {str(path)!r} must be an 8- or 16-bit greyscale PNG; got mode {image.mode}")
    return values.astype(np.uint16)


def write_confidence(path: str | Path, confidence: np.ndarray) -> None:
    """Writes confidences ``(H, W)`` in ``[0, 1]`` as a 16-bit greyscale PNG; white is 1."""
    write_labels(path, np.rint(confidence.astype(np.float64) * _CONFIDENCE_STEPS).astype(np.uint16))


def read_confidence(path: str | Path) -> np.ndarray:
    """Reads confidences ``(H, W)`` float32 written by :func:`write_confidence`, accurate to 1/131070."""
    return read_labels(path).astype(np.float32) / _CONFIDENCE_STEPS
