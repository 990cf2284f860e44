"""The size of an image after a method's resize; numbers only, shared by the tiler and the torch-free runtime."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ResizeRule:
    """How large an image gets.

    Attributes:
        short_side_px: the shorter side is resized to it; ``None`` keeps the image's own size times ``scale``.
        max_long_side_px: limit of the longer side, whatever the shorter one asks; ``None`` for no limit.
        scale: factor where ``short_side_px`` is ``None``.
        patch_px: least side, and the unit of whole patches.
        whole_patches: both sides are rounded up to whole patches.
        follow_long_side: with ``whole_patches``, the longer side is rounded up and the shorter one follows by the same
            factor before it is rounded up itself (Trident); else each side is rounded by itself.
    """

    short_side_px: int | None
    max_long_side_px: int | None
    scale: float
    patch_px: int
    whole_patches: bool
    follow_long_side: bool

    def resized_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width after the resize, at least one patch each."""
        factor = self.scale if self.short_side_px is None else self.short_side_px / min(size_hw)
        if self.max_long_side_px is not None:
            factor = min(factor, self.max_long_side_px / max(size_hw))
        height, width = (max(int(side * factor + 0.5), self.patch_px) for side in size_hw)
        if not self.whole_patches:
            return height, width
        if self.follow_long_side:
            longest = max(height, width)
            target = longest + -longest % self.patch_px
            height, width = height * target // longest, width * target // longest
        return height + -height % self.patch_px, width + -width % self.patch_px
