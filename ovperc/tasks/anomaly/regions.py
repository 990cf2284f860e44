"""Connected regions of a map above a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Region:
    """An 8-connected region.

    Attributes:
        box: left, top, right, bottom in px; right and bottom are exclusive.
        area_px: number of pixels.
        peak: highest score inside.
        contours: outer contours and holes, each ``((x, y), ...)`` in px.
    """

    box: tuple[int, int, int, int]
    area_px: int
    peak: float
    contours: tuple[tuple[tuple[int, int], ...], ...]

    def mask(self, size_hw: tuple[int, int]) -> np.ndarray:
        """Pixels of the region, ``(H, W)`` bool."""
        import cv2

        mask = np.zeros(size_hw, np.uint8)
        cv2.drawContours(mask, [np.array(outline, np.int32) for outline in self.contours], -1, 1, cv2.FILLED)
        return mask.astype(bool)


def find_regions(scores: np.ndarray, threshold: float | None, min_area_px: int = 1) -> tuple[Region, ...]:
    """Finds the regions at or above a threshold, sorted by descending peak.

    Args:
        scores: ``(H, W)`` float map.
        threshold: None for no regions.
        min_area_px: minimum area of a region.
    """
    if threshold is None:
        return ()
    import cv2  # imported here, so that predictions can be loaded and drawn without OpenCV

    above = (scores >= threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    regions = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[label])
        if area < min_area_px:
            continue
        inside = labels[top : top + height, left : left + width] == label
        found, _ = cv2.findContours(
            inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        outlines = tuple(tuple((int(x), int(y)) for x, y in outline[:, 0]) for outline in found)
        peak = float(scores[top : top + height, left : left + width][inside].max())
        regions.append(Region((left, top, left + width, top + height), area, peak, outlines))
    return tuple(sorted(regions, key=lambda region: (-region.peak, region.box)))
