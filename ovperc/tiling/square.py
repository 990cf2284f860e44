"""A tiler that squashes every image to one square, as the published anomaly evaluations do."""

from __future__ import annotations

from ovperc.registry import TILERS
from ovperc.tiling.tiler import Tiler


@TILERS.register_module()
class SquareTiler(Tiler):
    """One square tile; the aspect of the image is lost, as in the published evaluations.

    Args:
        size_px: side of the square.
    """

    def __init__(self, size_px: int) -> None:
        super().__init__(short_side_px=size_px, max_long_side_px=None, whole_patches=True)
        self.size_px = size_px

    @property
    def resize_mode(self) -> str:
        """``squash``."""
        return "squash"

    def resized_hw(self, original_hw: tuple[int, int], patch_px: int) -> tuple[int, int]:
        """The square, rounded up to whole patches; the image's own size does not matter."""
        if min(original_hw) < 1:
            raise ValueError(f"an image needs at least one pixel on each side; got height, width {original_hw}")
        side = max(self.size_px, patch_px)
        side += -side % patch_px
        return side, side
