"""From an image to the tiles a tower sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.core.naming import suggest
from ovperc.core.resize_rule import ResizeRule
from ovperc.registry import TILERS

Padding = Literal["none", "symmetric", "end"]


def tile_starts(length_px: int, crop_px: int, stride_px: int) -> tuple[int, ...]:
    """Where tiles begin along one axis, by the rule all mmseg-based methods share.

    ``max(N - c + s - 1, 0) // s + 1`` tiles; the last one is shifted back so that it ends with the
    image, and an image shorter than the crop gets one tile of its own length.
    """
    count = max(length_px - crop_px + stride_px - 1, 0) // stride_px + 1
    return tuple(max(min(i * stride_px + crop_px, length_px) - crop_px, 0) for i in range(count))


@dataclass(frozen=True)
class Geometry:
    """How one image is resized and cut into tiles; numbers only, in pixels.

    Attributes:
        original_hw: size of the caller's image, and of every map that comes back.
        resized_hw: size after the resize; tiles are cut from it.
        crop_hw: size of every tile before padding.
        starts_y: first row of each row of tiles, in the resized image.
        starts_x: first column of each column of tiles.
        pad_tblr: zeros added to every tile: top, bottom, left, right.
        crop_padding: True where the map of a padded tile is cropped back; False where the patch grid
            is stretched over the tile as if it had not been padded.
    """

    original_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    crop_hw: tuple[int, int]
    starts_y: tuple[int, ...]
    starts_x: tuple[int, ...]
    pad_tblr: tuple[int, int, int, int] = (0, 0, 0, 0)
    crop_padding: bool = True

    @property
    def num_tiles(self) -> int:
        """Tiles per image, ordered by rows."""
        return len(self.starts_y) * len(self.starts_x)

    @property
    def tile_hw(self) -> tuple[int, int]:
        """Size of every tile with its padding: what the tower is given."""
        top, bottom, left, right = self.pad_tblr
        return self.crop_hw[0] + top + bottom, self.crop_hw[1] + left + right


@TILERS.register_module()
class Tiler:
    """Resize rule and tile rule of a method; holds numbers, no state.

    Args:
        short_side_px: the shorter side is resized to it, unless that makes the longer one exceed
            ``max_long_side_px``; ``None`` keeps the image's own size times ``scale``.
        max_long_side_px: limit of the longer side after the resize; ``None`` for no limit.
        crop_px: side of the square tiles; 0 takes the whole image as one tile.
        stride_px: distance between tiles; 0 means ``crop_px`` (no overlap).
        pad: ``none`` lets the tower ignore the pixels beyond a whole number of patches, and the grid is
            stretched over the tile (SCLIP, NACLIP); ``symmetric`` pads with zeros on both sides and
            crops the map back (ClearCLIP); ``end`` pads at the bottom and right and stretches the grid
            over the tile without its padding (MaskCLIP).
        pad_multiple_px: padded tiles are a multiple of it; ``None`` for the tower's patch.
        scale: factor of the resize where ``short_side_px`` is ``None``.
        whole_patches: round both sides up to whole patches of the tower, by a slight stretch; tiles whose features
            are spliced need it.
        follow_long_side: with ``whole_patches``, the longer side is rounded up and the shorter one follows by the same
            factor before it is rounded up itself (Trident); else each side is rounded by itself.
    """

    def __init__(
        self,
        short_side_px: int | None = None,
        max_long_side_px: int | None = 2048,
        crop_px: int = 0,
        stride_px: int = 0,
        pad: Padding = "none",
        pad_multiple_px: int | None = None,
        scale: float = 1.0,
        whole_patches: bool = False,
        follow_long_side: bool = False,
    ) -> None:
        if pad not in get_args(Padding):
            raise ValueError(f"unknown pad {pad!r}; {suggest(str(pad), get_args(Padding))}")
        positive = {"short_side_px": short_side_px, "max_long_side_px": max_long_side_px, "scale": scale}
        for name, value in (positive | {"pad_multiple_px": pad_multiple_px}).items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive; got {value}")
        if min(crop_px, stride_px) < 0:
            raise ValueError(f"crop_px and stride_px must not be negative; got {crop_px} and {stride_px}")
        if crop_px and stride_px > crop_px:
            raise ValueError(f"stride_px {stride_px} is larger than crop_px {crop_px}: pixels between would be lost")
        if short_side_px is not None and scale != 1.0:
            raise ValueError("scale applies where short_side_px is None; give one of the two")
        self.short_side_px = short_side_px
        self.max_long_side_px = max_long_side_px
        self.crop_px = crop_px
        self.whole_patches = whole_patches
        self.follow_long_side = follow_long_side
        self.stride_px = stride_px or crop_px
        self.pad = pad
        self.pad_multiple_px = pad_multiple_px
        self.scale = scale

    @property
    def resize_mode(self) -> str:
        """How sizes are chosen, in open_clip's words: by the ``shortest`` side; ``scale`` for the image's own size."""
        return "scale" if self.short_side_px is None else "shortest"

    def resized_hw(self, original_hw: tuple[int, int], patch_px: int) -> tuple[int, int]:
        """Size after the resize; each side is at least one patch, whatever the aspect."""
        if min(original_hw) < 1:
            raise ValueError(f"an image needs at least one pixel on each side; got height, width {original_hw}")
        rule = ResizeRule(
            self.short_side_px, self.max_long_side_px, self.scale, patch_px, self.whole_patches, self.follow_long_side
        )
        return rule.resized_hw(original_hw)

    def plan(self, original_hw: tuple[int, int], patch_px: int) -> Geometry:
        """Plans the resize and the tiles of an image.

        Args:
            original_hw: size of the image in pixels.
            patch_px: stride of the tower in pixels.
        """
        if 0 < self.crop_px < patch_px:
            raise ValueError(f"crop_px {self.crop_px} is smaller than one patch of {patch_px} pixels")
        resized = self.resized_hw(original_hw, patch_px)
        crop = tuple(min(self.crop_px or side, side) for side in resized)
        starts = [tile_starts(n, c, self.stride_px or c) for n, c in zip(resized, crop, strict=True)]
        padding = [split for side in crop for split in self._padding(side, patch_px)]
        return Geometry(
            original_hw=(int(original_hw[0]), int(original_hw[1])),
            resized_hw=resized,
            crop_hw=(crop[0], crop[1]),
            starts_y=starts[0],
            starts_x=starts[1],
            pad_tblr=(padding[0], padding[1], padding[2], padding[3]),
            crop_padding=self.pad == "symmetric",
        )

    def _padding(self, side_px: int, patch_px: int) -> tuple[int, int]:
        if self.pad == "none":
            return 0, 0
        missing = -side_px % (self.pad_multiple_px or patch_px)
        before = missing // 2 if self.pad == "symmetric" else 0
        return before, missing - before

    def tiles(self, images: Tensor, geometry: Geometry) -> Tensor:
        """Cuts tiles.

        Args:
            images: ``(B, 3, H, W)``, resized to ``geometry.resized_hw`` and normalised.
            geometry: the plan.

        Returns:
            ``(B * T, 3, h, w)`` of ``geometry.tile_hw``: all tiles of the first image, by rows, then
            those of the next. Padding is 0, the mean colour.
        """
        if images.shape[-2:] != geometry.resized_hw:
            raise ValueError(f"images must be resized to {geometry.resized_hw}; got {tuple(images.shape[-2:])}")
        top, bottom, left, right = geometry.pad_tblr
        if geometry.num_tiles == 1:
            tiles = images
        else:
            height, width = geometry.crop_hw
            cuts = [images[..., y : y + height, x : x + width] for y in geometry.starts_y for x in geometry.starts_x]
            tiles = torch.stack(cuts, dim=1).flatten(0, 1)
        return F.pad(tiles, (left, right, top, bottom)) if any(geometry.pad_tblr) else tiles
