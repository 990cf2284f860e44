"""Images from anywhere, as arrays of one type."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from ovperc.core.errors import ImageError
from ovperc.io.addresses import AddressLimits, download, has_other_scheme, is_address, without_credentials
from ovperc.io.arrays import array_to_rgb, is_tensor, tensor_to_array, wide_grey

_TIFF_EXTRA_SAMPLES, _TIFF_SAMPLES_PER_PIXEL = 338, 277
_LONGEST_SHOWN = 200


def read_image(source: Any, upright: bool = True, limits: AddressLimits | None = None) -> np.ndarray:
    """Reads an image as ``(H, W, 3)`` uint8 RGB without transparency.

    Files and PIL images of any mode: first frame of an animated file, transparency over white, 16 bits cut to the
    upper 8 (as Pillow does for colour). A file with more pixels than Pillow's limit is refused; raise
    ``PIL.Image.MAX_IMAGE_PIXELS`` for larger ones that you trust.

    Args:
        source: path, ``http(s)`` address, the content of a file as bytes, a binary file object (read from its
            start), PIL image, array or tensor. Arrays are ``(H, W)`` or ``(H, W, 1 | 3 | 4)``; tensors also
            channels first, which wins where both fit.
            Values: uint8, uint16, bool, other integers in 0..255, or floats in ``[0, 1]``; colour order RGB.
        upright: turn by the EXIF tag; False for pixels as stored, as the annotations of published sets count them.
        limits: of a download.

    Returns:
        A C-contiguous array, which may share memory with a uint8 array or tensor.

    Raises:
        ImageError: missing, unreadable, truncated, oversized or empty image, or an array of another shape or range.
        TypeError: not an image at all.
    """
    if is_address(source):
        return _decode(io.BytesIO(download(source, limits)), repr(without_credentials(source)), upright)
    if isinstance(source, (str, Path)):
        return _read_file(source, upright)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), f"the image of {len(source)} bytes", upright)
    if isinstance(source, Image.Image):
        name = f"the {source.mode} image"
        with _decoding(name):
            return _pil_to_rgb(source, name, upright)
    if isinstance(source, np.ndarray):
        return array_to_rgb(source)
    if is_tensor(source):
        return array_to_rgb(tensor_to_array(source), channels_first=True)
    if hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        return _decode(source, f"the image file {getattr(source, 'name', type(source).__name__)!r}", upright)
    raise TypeError(
        "an image is a path, an address, bytes, a file opened in binary mode, a PIL image, an array or a tensor; "
        f"got {type(source).__name__}"
    )


def image_size_hw(path: Path) -> tuple[int, int]:
    """Height and width of a file in px as stored, from its header.

    Raises:
        ImageError: it is missing or no image.
    """
    with _decoding(repr(str(path))), Image.open(path) as image:
        return image.height, image.width


def _read_file(source: str | Path, upright: bool) -> np.ndarray:
    name = repr(_shortened(str(source)))
    if has_other_scheme(source):
        raise ImageError(f"{name} is no address of http or https, and others are not opened; pass a path")
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            raise ImageError(f"{name} is a folder; name a file in it, or predict on the folder")
        if not path.exists():
            raise ImageError(f"there is no image {name} (relative paths start from the current folder)")
        if path.stat().st_size == 0:
            raise ImageError(f"the image {name} is an empty file")
    except ImageError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # too long, a user that is not known, a null character
        raise ImageError(f"cannot open the image {name}: {getattr(error, 'strerror', None) or error}") from error
    return _decode(path, name, upright)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text)} characters)"


def _decode(file: Any, name: str, upright: bool) -> np.ndarray:
    size = f" of {file.stat().st_size} bytes" if isinstance(file, Path) else ""
    with _decoding(name, size), Image.open(file) as image:
        return _pil_to_rgb(image, name, upright)


@contextmanager
def _decoding(name: str, size: str = "") -> Iterator[None]:
    """Turns what Pillow raises for damaged data, errors of many types, into :class:`ImageError`."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image of a known format") from error
    except Image.DecompressionBombError as error:
        count = re.search(r"\d+", str(error))
        raise ImageError(
            f"{name} has {count.group() if count else 'more'} pixels, over the limit of "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0)}; if you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS, or set "
            "OVPERC_MAX_PIXELS for the ovperc command"
        ) from error
    except Exception as error:
        raise ImageError(f"cannot read {name}{size}: {error}; copy it again") from error


def _pil_to_rgb(image: Image.Image, name: str, upright: bool) -> np.ndarray:
    image.load()
    spare_band = _has_spare_band(image)
    image = ImageOps.exif_transpose(image) if upright else image
    if image.mode.startswith("I;16"):
        return array_to_rgb(np.array(image).astype(np.uint16), name)
    if image.mode in ("I", "F"):
        return array_to_rgb(wide_grey(np.array(image)), name)
    if spare_band:
        warnings.warn(f"{name} has a fourth band that is not transparency; it is left out", stacklevel=2)
        return array_to_rgb(np.ascontiguousarray(np.array(image)[:, :, :3]), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return array_to_rgb(np.array(image.convert("RGB")), name)


def _has_spare_band(image: Image.Image) -> bool:
    """Whether it is a TIFF of four bands, red, green, blue and one that its tags do not call transparency."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode not in ("RGBA", "RGBX", "RGB"):
        return False
    extra = image.tag_v2.get(_TIFF_EXTRA_SAMPLES, ())
    unspecified = not extra or tuple(extra)[:1] == (0,)
    return image.tag_v2.get(_TIFF_SAMPLES_PER_PIXEL) == 4 and unspecified
