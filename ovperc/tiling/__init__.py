"""Geometry: from image pixels to tiles of a tower, and from tile grids back to image pixels."""

from __future__ import annotations

from ovperc.tiling.preprocess import Preprocess, normalize, resize_image
from ovperc.tiling.splice import as_one_tile, splice
from ovperc.tiling.stitcher import OutputTile, Stitcher
from ovperc.tiling.tiler import Geometry, Tiler, tile_starts

__all__ = [
    "Geometry",
    "OutputTile",
    "Preprocess",
    "Stitcher",
    "Tiler",
    "as_one_tile",
    "normalize",
    "resize_image",
    "splice",
    "tile_starts",
]
