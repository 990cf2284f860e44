"""Reading annotation images as numbers, and writing them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ovperc.core.errors import DataError


class AnnotationError(DataError):
    """An annotation file is missing or cannot be read."""


def read_annotation(path: str | Path) -> np.ndarray:
    """The numbers of an index image (8 or 16 bit, palette or grey, PNG or TIFF).

    Returns:
        ``(H, W)`` uint8, uint16 or int32; ``(H, W, C)`` where the file holds colours.

    Raises:
        AnnotationError: no such file, or not an image, or cut off.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            numbers = np.asarray(image)
    except FileNotFoundError as error:
        raise AnnotationError(
            f"{path}: the annotation is missing; run 'ovperc prepare NAME --check' to list all that are"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        size = path.stat().st_size if path.is_file() else 0
        raise AnnotationError(
            f"{path}: expected an index image, found {size} bytes that cannot be decoded ({error}); copy it again"
        ) from error
    return numbers.astype(np.uint8) if numbers.dtype == bool else numbers


def encode_annotation(labels: np.ndarray, suffix: str) -> bytes:
    """An index image as the bytes of a ``.png`` or ``.tif`` file.

    Args:
        labels: ``(H, W)`` uint8 or uint16.
        suffix: ``.png`` or ``.tif``.
    """
    stream = io.BytesIO()
    image = Image.fromarray(labels)
    if suffix == ".png":
        image.save(stream, "PNG")
    elif suffix == ".tif":
        image.save(stream, "TIFF", compression="tiff_adobe_deflate")
    else:
        raise ValueError(f"annotations are written as .png or .tif; got {suffix!r}")
    return stream.getvalue()
