"""Normal images that a predictor learns from: their identity, order and augmented copies."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ovperc.io.images import expand_sources


def augmented(image: np.ndarray, name: str) -> np.ndarray:
    """A mirrored or turned copy of an image, one of :data:`ovperc.tasks.anomaly.method.AUGMENTATIONS`."""
    if name in ("hflip", "vflip"):
        return np.ascontiguousarray(np.flip(image, axis=1 if name == "hflip" else 0))
    return np.ascontiguousarray(np.rot90(image, int(name.removeprefix("rot")) // 90))


def image_digest(image: np.ndarray) -> bytes:
    """Identifies the pixels of an image."""
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()


def sorted_images(images: Any) -> list[np.ndarray]:
    """Images by their content, so that the order in which they were given leaves no trace.

    Raises:
        ValueError: there are none.
    """
    pixels = [source.load() for source in expand_sources(images)]
    if not pixels:
        raise ValueError("no normal images were given; at least one is needed")
    return sorted(pixels, key=image_digest)
