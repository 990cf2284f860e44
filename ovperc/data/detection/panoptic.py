"""Things and stuff of COCO's panoptic annotations, as regions to be named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ovperc.data.detection.sample import DetectionSample
from ovperc.data.detection.splits import as_words
from ovperc.data.layout import resolve_root
from ovperc.data.panoptic.files import PanopticFiles
from ovperc.data.panoptic.sample import THING
from ovperc.io.coco import encode_rle
from ovperc.registry import DATASETS

MOST_SEGMENTS = 100


@DATASETS.register_module()
class PanopticRegions(Dataset):
    """Segments of photographs: boxes of things as annotated, of stuff as tight as its mask.

    Args:
        root: COCO's folder: ``annotations/panoptic_val2017.json``, ``annotations/panoptic_val2017/``, ``val2017/``.
        smallest_area, largest_area: products of a box's sides, px, outside of which a segment is left out.
        keep_crowds: name crowds too, as CLIPSelf's evaluation does.
        partial: leave out pictures that are not there.

    Attributes:
        classes: words by rising category id.
        groups: ``thing`` and ``stuff``.
        complete: whether all pictures are there.
    """

    def __init__(
        self,
        root: str | Path | None,
        smallest_area: float = 8.0**2,
        largest_area: float = 1024.0**2,
        keep_crowds: bool = True,
        partial: bool = False,
    ) -> None:
        folder = resolve_root(root, "coco")
        maps = folder / "annotations" / "panoptic_val2017"
        self._files = PanopticFiles(maps.with_suffix(".json"), maps, folder / "val2017", partial=partial)
        self._areas = (smallest_area, largest_area)
        self._keep_crowds = keep_crowds
        self.classes = tuple(_words(name) for name in self._files.classes)
        self.groups = self._files.groups
        self.complete = self._files.complete

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> DetectionSample:
        sample = self._files[index]
        ids = sample.panoptic.ids
        low, high = self._areas
        kept = []
        for part, segment in zip(self._files.rows[index]["segments_info"], sample.panoptic.segments, strict=True):
            box = self._box(part, segment.label, ids)
            if (self._keep_crowds or not segment.crowd) and low <= (box[2] - box[0]) * (box[3] - box[1]) <= high:
                kept.append((segment, box))
        kept = kept[:MOST_SEGMENTS]
        return DetectionSample(
            image=sample.image,
            boxes=np.array([box for _, box in kept], np.float32).reshape(-1, 4),
            labels=np.array([segment.label for segment, _ in kept], np.int64),
            masks=tuple(encode_rle(ids == segment.id) for segment, _ in kept),
            crowd=np.array([segment.crowd for segment, _ in kept], bool),
            image_id=sample.image_id,
            name=sample.name,
        )

    def _box(self, part: Mapping[str, Any], label: int, ids: np.ndarray) -> tuple[float, float, float, float]:
        if label in self.groups[THING]:
            x, y, width, height = part["bbox"]
            return x, y, x + width, y + height
        rows, columns = np.nonzero(ids == part["id"])
        return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def _words(name: str) -> str:
    """``"sky-other-merged"`` -> ``"sky"``, ``"wall-brick"`` -> ``"wall brick"``."""
    return as_words(name.removesuffix("-merged").removesuffix("-other").replace("-", " "))
