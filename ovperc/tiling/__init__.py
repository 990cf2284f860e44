"""Geometry: from image pixels to windows of a tower, and from window grids back to image pixels."""

from __future__ import annotations

from ovperc.tiling.preprocess import Preprocess, normalize, resize_image
from ovperc.tiling.splice import as_one_window, splice
from ovperc.tiling.stitcher import OutputTile, Stitcher
from ovperc.tiling.tiler import Geometry, Tiler, window_starts

__all__ = [
    "Geometry",
    "OutputTile",
    "Preprocess",
    "Stitcher",
    "Tiler",
    "as_one_window",
    "normalize",
    "resize_image",
    "splice",
    "window_starts",
]
