"""Reading and writing annotation images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ovperc.core.errors import DataError


class AnnotationError(DataError):
    """An annotation file is missing or cannot be read."""


def read_annotation(path: str | Path) -> np.ndarray:
    """Reads an index image (8 or 16 bit, palette or greyscale, PNG or TIFF).

    Returns:
        ``(H, W)`` uint8, uint16 or int32; ``(H, W, C)`` if the file has colour channels.

    Raises:
        AnnotationError: the file is missing, truncated or not an image.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            numbers = np.asarray(image)
    except FileNotFoundError as error:
        raise AnnotationError(
            f"{path}: the annotation is missing; run 'ovperc prepare NAME --check' to list all missing files"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        size = path.stat().st_size if path.is_file() else 0
        raise AnnotationError(
            f"{path}: expected an index image, found {size} bytes that cannot be decoded ({error}); copy it again"
        ) from error
    return numbers.astype(np.uint8) if numbers.dtype == bool else numbers


def encode_annotation(labels: np.ndarray, suffix: str) -> bytes:
    """Encodes an index image as a ``.png`` or ``.tif`` file.

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
        raise ValueError(f"suffix must be .png or .tif; got {suffix!r}")
    return stream.getvalue()
