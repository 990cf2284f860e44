"""Small images for tests of what does not depend on their content."""

from __future__ import annotations

import numpy as np


def blobs(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Blocks of colour ``(H, W, 3)`` uint8, so that neighbouring pixels agree as in an image."""
    height, width = size_hw
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((-(-height // 4), -(-width // 4), 1), np.uint8))[:height, :width]
