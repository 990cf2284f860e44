"""Which images an exported model takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovperc.core.resize_rule import ResizeRule
from ovperc.io.images import read_image


@dataclass(frozen=True)
class InputSpec:
    """Image sizes that a model takes, and the resize that decides them (see :class:`ovperc.tiling.Tiler`).

    Attributes:
        size_hw: the one size, or ``None`` for any size.
        min_side_px: with any size: least length of both sides after the resize.
        short_side_px: length of the shorter side after the resize; ``None`` for ``scale``.
        max_long_side_px: limit of the longer side after the resize.
        scale: factor of the resize where ``short_side_px`` is ``None``.
        patch_px: stride of the tower, least length of a side after the resize.
        whole_patches: both sides are rounded up to whole patches after the resize.
        follow_long_side: the shorter side follows the longer one before it is rounded, see ``Tiler``.

    Raises:
        ValueError: a field that is out of its range.
    """

    size_hw: tuple[int, int] | None = None
    min_side_px: int = 0
    short_side_px: int | None = None
    max_long_side_px: int | None = None
    scale: float = 1.0
    patch_px: int = 1
    whole_patches: bool = False
    follow_long_side: bool = False

    def __post_init__(self) -> None:
        sides = () if self.size_hw is None else tuple(self.size_hw)
        if self.size_hw is not None and len(sides) != 2:
            raise ValueError(f"size_hw must be (height, width); got {self.size_hw!r}")
        limits = [side for side in (self.short_side_px, self.max_long_side_px) if side is not None]
        for name, values, least in (
            ("size_hw", sides, 1),
            ("short_side_px and max_long_side_px", limits, 1),
            ("patch_px", (self.patch_px,), 1),
            ("min_side_px", (self.min_side_px,), 0),
        ):
            if any(type(value) is not int or value < least for value in values):
                raise ValueError(f"{name} must be whole numbers from {least}; got {values!r}")
        if not isinstance(self.scale, (int, float)) or not math.isfinite(self.scale) or self.scale <= 0:
            raise ValueError(f"scale must be a positive number; got {self.scale!r}")

    def check(self, size_hw: tuple[int, int]) -> None:
        """Raises ValueError for an image size that the model does not take."""
        if min(size_hw) < 1:
            raise ValueError(f"an image needs at least one pixel on each side; got height, width {size_hw}")
        if self.size_hw is not None and tuple(size_hw) != self.size_hw:
            height, width = self.size_hw
            raise ValueError(
                f"this model was exported for images of {height} x {width} px (height x width); got {size_hw[0]} x "
                f"{size_hw[1]}. Resize the image, or export with --dynamic"
            )
        if min(self.resized_hw(size_hw)) < self.min_side_px:
            raise ValueError(
                f"an image of {size_hw[0]} x {size_hw[1]} px is too long and narrow for this model: after the resize "
                f"each side must hold a tile of {self.min_side_px} px; cut it into pieces, or export with --size"
            )

    def resized_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Size after the resize, by the rule of the tiler."""
        rule = ResizeRule(
            self.short_side_px,
            self.max_long_side_px,
            self.scale,
            self.patch_px,
            self.whole_patches,
            self.follow_long_side,
        )
        return rule.resized_hw(size_hw)

    def read(self, image: Any) -> np.ndarray:
        """An image as the array that a graph takes, ``(H, W, 3)`` uint8 RGB.

        Args:
            image: path, PIL image, or such an array.

        Raises:
            TypeError: an array of another type.
            ValueError: an array of another shape, or a size that the model does not take.
        """
        if not isinstance(image, np.ndarray):
            image = read_image(image)
        if image.dtype != np.uint8:
            raise TypeError(f"image must be uint8 with values 0..255; got {image.dtype}")
        if image.ndim != 3 or image.shape[2] != 3:
            hint = "; it looks channels first: transpose(1, 2, 0)" if image.ndim == 3 and image.shape[0] == 3 else ""
            raise ValueError(f"image must be (H, W, 3) RGB; got shape {image.shape}{hint}")
        self.check((image.shape[0], image.shape[1]))
        return np.ascontiguousarray(image)
