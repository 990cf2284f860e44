"""How an image is brought to the tower: squashed to a square as the authors do, or at its own aspect, or in tiles."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from PIL import Image

from ovperc.core.naming import suggest
from ovperc.registry import TILERS
from ovperc.tiling import Tiler

Resize = Literal["bicubic", "bilinear", "opencv"]
_KERNELS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@TILERS.register_module()
class SquareTiler(Tiler):
    """One square window; the aspect of the image is lost, as in the published evaluations.

    Args:
        size_px: side of the square.
    """

    def __init__(self, size_px: int) -> None:
        super().__init__(short_side_px=size_px, max_long_side_px=None, whole_patches=True)
        self.size_px = size_px

    def resized_hw(self, original_hw: tuple[int, int], patch_px: int) -> tuple[int, int]:
        """The square, rounded up to whole patches; the image's own size does not matter."""
        if min(original_hw) < 1:
            raise ValueError(f"an image needs at least one pixel on each side; got height, width {original_hw}")
        side = max(self.size_px, patch_px)
        side += -side % patch_px
        return side, side


def check_resize(name: str) -> str:
    """Returns a known rule.

    Raises:
        ValueError: an unknown rule; near matches are offered.
    """
    if name not in get_args(Resize):
        raise ValueError(f"unknown resize {name!r}; {suggest(str(name), get_args(Resize))}")
    return name


def resize_for_tower(image: np.ndarray, size_hw: tuple[int, int], rule: str) -> np.ndarray:
    """Resizes as a method's authors do.

    Args:
        image: ``(H, W, 3)`` uint8.
        size_hw: wanted height and width, px.
        rule: ``bicubic`` or ``bilinear`` with Pillow's antialiasing, or ``opencv`` (bilinear without).

    Returns:
        ``(h, w, 3)`` uint8; the input itself where the size is right.
    """
    if image.shape[:2] == tuple(size_hw):
        return image
    if check_resize(rule) == "opencv":
        return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.array(Image.fromarray(image).resize(size_hw[::-1], _KERNELS[rule]))
