"""Images that are not read yet: files of folders, addresses and arrays, with names for their results."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovperc.core.errors import ImageError
from ovperc.io.addresses import is_address, without_credentials
from ovperc.io.arrays import is_tensor
from ovperc.io.images import read_image

IMAGE_SUFFIXES = frozenset(
    [".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
_PLUGIN_SUFFIXES = frozenset([".avif", ".heic", ".heics", ".heif", ".jp2", ".jxl"])


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


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Those paths that are image files by their ending; hidden files are left out.

    Files of formats that need a plug-in for Pillow, such as HEIC, are taken where it is registered, and named in a
    warning where it is not.
    """
    files = [path for path in paths if not path.name.startswith(".") and not path.is_dir()]
    suffixes = set(IMAGE_SUFFIXES)
    if any(path.suffix.lower() in _PLUGIN_SUFFIXES for path in files):
        suffixes |= _PLUGIN_SUFFIXES & set(Image.registered_extensions())
    left_out = [path for path in files if path.suffix.lower() in _PLUGIN_SUFFIXES - suffixes]
    if left_out:
        shown = ", ".join(path.name for path in left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        warnings.warn(
            f"{len(left_out)} images in formats that Pillow cannot read here are left out: {shown}; convert them to "
            "PNG or JPEG, or register a plug-in such as pillow-heif",
            stacklevel=2,
        )
    return [path for path in files if path.suffix.lower() in suffixes]


def list_images(folder: str | Path, recursive: bool = False) -> list[Path]:
    """Image files of a folder, by their ending, in natural order ("2.png" before "10.png").

    Raises:
        ImageError: no such folder, or no image in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ImageError(f"{str(folder)!r} is not a folder")
    images = image_files(folder.rglob("*") if recursive else folder.iterdir())
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
            name = without_credentials(item) if is_address(item) else str(item)
            stem = re.sub(r"[^\w.-]+", "_", Path(name.split("?")[0]).stem) or "image"
        else:
            name = stem = f"image-{arrays}"
            arrays += 1
        yield ImageSource(name, _unused(stem, stems), partial(read_image, item))


def is_several(sources: Any) -> bool:
    """Whether sources are a folder, a batch or an iterable, whatever they hold, and not one image."""
    if isinstance(sources, (str, Path)):
        return not is_address(sources) and _is_folder(sources)
    if isinstance(sources, np.ndarray) or is_tensor(sources):
        return sources.ndim == 4
    single = isinstance(sources, (Image.Image, bytes, bytearray, memoryview, dict)) or hasattr(sources, "read")
    return isinstance(sources, Iterable) and not single


def _is_folder(path: str | Path) -> bool:
    try:
        return Path(path).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # no such user, a name that is too long, or no name at all
        return False


def _flatten(sources: Any, recursive: bool) -> Iterator[Any]:
    if not is_several(sources):
        yield sources
    elif isinstance(sources, (str, Path)):
        yield from list_images(Path(sources).expanduser(), recursive)
    elif isinstance(sources, np.ndarray) or is_tensor(sources):
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
