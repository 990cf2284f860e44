"""Images from anywhere, as one kind of array."""

from __future__ import annotations

import io
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_URL = re.compile(r"https?://", re.IGNORECASE)
_URL_TIMEOUT_S = 20.0
# Rounding in a resize may leave [0, 1] by a little; more is another value range.
_FLOAT_SLACK = 1 / 255


class ImageError(ValueError):
    """An image that cannot be read or understood; the message names it and the cause."""


@dataclass(frozen=True)
class ImageSource:
    """An image that is not read yet.

    Attributes:
        name: the path or address as it was given, or ``image-N`` for the N-th array (from 0).
        stem: short name for output files, unique among the sources of one call.
        load: reads the image, ``(H, W, 3)`` uint8 RGB; raises :class:`ImageError`.
    """

    name: str
    stem: str
    load: Callable[[], np.ndarray]


def read_image(source: Any) -> np.ndarray:
    """Reads an image as ``(H, W, 3)`` uint8 RGB, upright and without transparency.

    Files and PIL images of any mode: turned by their EXIF tag, first frame of an animated file, transparency
    over white, 16 bits cut to the upper 8 (as Pillow does for colour).

    Args:
        source: path, ``http(s)`` address, PIL image, array or tensor. Arrays are ``(H, W)`` or
            ``(H, W, 1 | 3 | 4)``; tensors also channels first, which wins where both fit.
            Values: uint8, uint16, bool, other integers in 0..255, or floats in ``[0, 1]``; colour order RGB.

    Returns:
        A C-contiguous array, which may share memory with a uint8 array or tensor.

    Raises:
        ImageError: missing, unreadable, truncated or empty image, or an array of another shape or range.
        TypeError: not an image at all.
    """
    if isinstance(source, (str, Path)):
        return _read_url(source) if isinstance(source, str) and _URL.match(source) else _read_file(Path(source))
    if isinstance(source, Image.Image):
        return _pil_to_rgb(source, f"the {source.mode} image")
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source, channels_first=False)
    if _is_tensor(source):
        return _array_to_rgb(_tensor_to_array(source), channels_first=True)
    raise TypeError(f"an image is a path, an address, a PIL image, an array or a tensor; got {type(source).__name__}")


def read_stored_image(path: Path) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB as stored: an EXIF rotation is not applied, as annotations have none.

    Raises:
        ImageError: missing, not an image, or cut off.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        size = f"{path.stat().st_size} bytes that cannot be decoded ({error})" if path.is_file() else "no file"
        raise ImageError(f"{path}: expected an image, found {size}; copy it again") from error


def list_images(folder: str | Path, recursive: bool = False) -> list[Path]:
    """Image files of a folder, by their ending, in natural order ("2.png" before "10.png").

    Raises:
        ImageError: no such folder, or no image in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ImageError(f"{str(folder)!r} is not a folder")
    files = folder.rglob("*") if recursive else folder.iterdir()
    named = (path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))
    images = [path for path in named if not path.is_dir()]
    if not images:
        raise ImageError(f"no image in the folder {str(folder)!r} (endings: {' '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(images, key=lambda path: natural_key(str(path.relative_to(folder))))


def expand_sources(sources: Any, recursive: bool = False) -> Iterator[ImageSource]:
    """Image or images, one after the other; nothing is read before its ``load``.

    Args:
        sources: whatever :func:`read_image` takes, a folder, a batch ``(B, H, W, C)`` as array or tensor,
            an :class:`ImageSource`, which passes through, or an iterable of all these. A path that
            does not exist fails at its ``load``.
        recursive: whether folders are searched with all they hold.

    Raises:
        ImageError: a folder without images.
    """
    stems: dict[str, int] = {}
    arrays = 0
    for item in _flatten(sources, recursive):
        if isinstance(item, ImageSource):
            yield item
            continue
        if isinstance(item, (str, Path)):
            name = str(item)
            stem = re.sub(r"[^\w.-]+", "_", Path(name.split("?")[0]).stem) or "image"
        else:
            name = stem = f"image-{arrays}"
            arrays += 1
        yield ImageSource(name, _unused(stem, stems), partial(read_image, item))


def is_several(sources: Any) -> bool:
    """Whether sources are a folder, a batch or an iterable, whatever they hold, and not one image."""
    if isinstance(sources, (str, Path)):
        address = isinstance(sources, str) and _URL.match(sources)
        return not address and Path(sources).expanduser().is_dir()
    if isinstance(sources, np.ndarray) or _is_tensor(sources):
        return sources.ndim == 4
    return isinstance(sources, Iterable) and not isinstance(sources, (Image.Image, bytes, dict))


def _flatten(sources: Any, recursive: bool) -> Iterator[Any]:
    if not is_several(sources):
        yield sources
    elif isinstance(sources, (str, Path)):
        yield from list_images(Path(sources).expanduser(), recursive)
    elif isinstance(sources, np.ndarray) or _is_tensor(sources):
        yield from sources
    else:
        for item in sources:
            yield from _flatten(item, recursive)


def _unused(stem: str, seen: dict[str, int]) -> str:
    """The stem, numbered from its second use on; file systems may ignore case, so this does."""
    candidate, key = stem, stem.casefold()
    while candidate.casefold() in seen:
        seen[key] += 1
        candidate = f"{stem}-{seen[key]}"
    seen[candidate.casefold()] = 1
    return candidate


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sorts ``"2.png"`` before ``"10.png"``, whatever the case."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _read_file(path: Path) -> np.ndarray:
    path = path.expanduser()
    if path.is_dir():
        raise ImageError(f"{str(path)!r} is a folder; name a file in it, or predict on the folder")
    if not path.exists():
        raise ImageError(f"there is no image {str(path)!r} (relative paths start from the current folder)")
    if path.stat().st_size == 0:
        raise ImageError(f"the image {str(path)!r} is an empty file")
    return _decode(path, repr(str(path)))


def _read_url(url: str) -> np.ndarray:
    request = urllib.request.Request(url, headers={"User-Agent": "ovperc"})
    try:
        with urllib.request.urlopen(request, timeout=_URL_TIMEOUT_S) as response:
            content = response.read()
    except (OSError, urllib.error.URLError, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise ImageError(f"cannot download {url!r}: {cause}; check the address and the network, or pass a file") from (
            error
        )
    return _decode(io.BytesIO(content), repr(url))


def _decode(file: Path | io.BytesIO, name: str) -> np.ndarray:
    try:
        with Image.open(file) as image:
            return _pil_to_rgb(image, name)
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image of a known format") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"cannot read {name}: {error}") from error


def _pil_to_rgb(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plug-ins raise errors of many types for damaged data
        raise ImageError(f"cannot read {name}: {error}") from error
    if image.mode.startswith("I;16"):
        return _array_to_rgb(np.array(image).astype(np.uint16), channels_first=False)
    if image.mode in ("I", "F"):
        return _array_to_rgb(_wide_grey(np.array(image)), channels_first=False)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return _array_to_rgb(np.array(image.convert("RGB")), channels_first=False)


def _wide_grey(values: np.ndarray) -> np.ndarray:
    """32-bit grey by its range: a file of this kind does not tell its white."""
    top = float(values.max(initial=0))
    if values.dtype.kind == "f":
        return values / 255 if 1 + _FLOAT_SLACK < top <= 255 else values
    return values.astype(np.uint16) if 255 < top <= 65535 and values.min() >= 0 else values


def _is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor, without importing torch to find out."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def _tensor_to_array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _array_to_rgb(array: np.ndarray, channels_first: bool) -> np.ndarray:
    """Checks shape and values; ``(H, W, 3)`` uint8."""
    shape = tuple(array.shape)
    if array.ndim == 3 and channels_first and shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        hint = " (channels first? use np.moveaxis(image, 0, -1))" if len(shape) == 3 and shape[0] in (1, 3, 4) else ""
        hint = " (a batch? pass its images one by one or as a list)" if len(shape) == 4 else hint
        raise ImageError(f"an image array is (H, W) or (H, W, 1, 3 or 4); got shape {shape}{hint}")
    if 0 in shape:
        raise ImageError(f"the image is empty: shape {shape}")
    array = _to_uint8(array)
    if array.shape[-1] == 4:
        alpha = array[:, :, 3:].astype(np.uint32)
        array = ((array[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    elif array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array)


def _to_uint8(array: np.ndarray) -> np.ndarray:
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        return array
    if kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if kind not in "iuf":
        raise ImageError(f"image values must be numbers; got an array of {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("the image holds values that are not finite (NaN or infinity)")
    if kind == "f":
        if low < -_FLOAT_SLACK or high > 1 + _FLOAT_SLACK:
            raise ImageError(
                f"a float image lies in [0, 1]; got {low:.3g}..{high:.3g} (pass uint8 for 0..255; undo a normalisation)"
            )
        return (np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8)
    if low < 0 or high > 255:
        raise ImageError(
            f"an image of {array.dtype} lies in 0..255; got {low:.0f}..{high:.0f} (pass uint16 for 16 bits)"
        )
    return array.astype(np.uint8)
