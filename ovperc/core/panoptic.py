"""Panoptic maps: every pixel belongs to one segment at most, and every segment has a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VOID_ID = 0


@dataclass(frozen=True)
class Segment:
    """An instance of a thing class, or everything of a stuff class.

    Attributes:
        id: of its pixels in the map, above 0; unique in the image.
        label: index of its class.
        score: of a predicted segment, in 0..1.
        crowd: of an annotated segment: a group of instances that are not told apart.
    """

    id: int
    label: int
    score: float = 1.0
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class PanopticMap:
    """The segments of an image.

    Attributes:
        ids: ``(H, W)`` int32, id of each pixel's segment, `VOID_ID` where no segment is.
        segments: their classes; each has at least one pixel.

    Raises:
        ValueError: ids and segments that do not belong together.
    """

    ids: np.ndarray
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        ids = np.asarray(self.ids)
        if ids.ndim != 2 or ids.dtype.kind not in "iu" or ids.size == 0:
            raise ValueError(f"ids must be integers of shape (H, W), not empty; got {ids.shape} {ids.dtype}")
        object.__setattr__(self, "ids", np.ascontiguousarray(ids, dtype=np.int32))
        object.__setattr__(self, "segments", tuple(self.segments))
        known = [segment.id for segment in self.segments]
        if len(set(known)) < len(known) or VOID_ID in known:
            raise ValueError(f"segment ids must differ, and none may be {VOID_ID}, which is void; got {known}")
        found = set(np.unique(self.ids).tolist()) - {VOID_ID}
        if found != set(known):
            missing, extra = sorted(set(known) - found), sorted(found - set(known))
            raise ValueError(f"segments without pixels: {missing}; pixels without a segment: {extra}")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.ids.shape[0], self.ids.shape[1]

    def mask(self, segment: Segment) -> np.ndarray:
        """Pixels of a segment, ``(H, W)`` bool."""
        return self.ids == segment.id

    def areas(self) -> dict[int, int]:
        """Segment id -> number of pixels."""
        ids, counts = np.unique(self.ids, return_counts=True)
        return {segment: count for segment, count in zip(ids.tolist(), counts.tolist(), strict=True) if segment}

    def label_map(self, void: int) -> np.ndarray:
        """Class of each pixel, ``(H, W)`` int32; ``void`` where no segment is."""
        ids, places = np.unique(self.ids, return_inverse=True)
        labels = {segment.id: segment.label for segment in self.segments}
        table = np.array([labels.get(int(segment), void) for segment in ids], dtype=np.int32)
        return table[places].reshape(self.ids.shape)
