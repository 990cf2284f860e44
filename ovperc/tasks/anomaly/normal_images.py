"""Normal images of few-shot methods: digests, order and augmented copies."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ovperc.io.image_sources import expand_sources


def augmented(image: np.ndarray, name: str) -> np.ndarray:
    """A flipped or rotated copy of an image, one of :data:`ovperc.tasks.anomaly.method.AUGMENTATIONS`."""
    if name in ("hflip", "vflip"):
        return np.ascontiguousarray(np.flip(image, axis=1 if name == "hflip" else 0))
    return np.ascontiguousarray(np.rot90(image, int(name.removeprefix("rot")) // 90))


def image_digest(image: np.ndarray) -> bytes:
    """Digest of an image's pixels."""
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()


def sorted_images(images: Any) -> list[np.ndarray]:
    """Sorts images by content, so that results do not depend on the order given.

    Raises:
        ValueError: there are no images.
    """
    pixels = [source.load() for source in expand_sources(images)]
    if not pixels:
        raise ValueError("expected at least one normal image; got none")
    return sorted(pixels, key=image_digest)
