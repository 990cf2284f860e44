"""Things and stuff of COCO's panoptic annotations, as regions to be named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ovperc.data.detection.annotations import read_document
from ovperc.data.detection.sample import DetectionSample
from ovperc.data.detection.splits import as_words
from ovperc.data.layout import LayoutError, resolve_root
from ovperc.io.coco import encode_rle
from ovperc.io.images import read_stored_image
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
    """

    def __init__(
        self,
        root: str | Path | None,
        smallest_area: float = 8.0**2,
        largest_area: float = 1024.0**2,
        keep_crowds: bool = True,
        partial: bool = False,
    ) -> None:
        self.root = resolve_root(root, "coco")
        path = self.root / "annotations" / "panoptic_val2017.json"
        document = read_document(path)
        if not document["categories"]:
            raise LayoutError(f"{path} has 0 categories; it asks for nothing")
        categories = sorted(document["categories"], key=lambda row: row["id"])
        self._labels = {row["id"]: label for label, row in enumerate(categories)}
        self._images = {row["id"]: row for row in document["images"]}
        self._rows = sorted(document["annotations"], key=lambda row: row["image_id"])
        there = [row for row in self._rows if self._picture(row).is_file()]
        self.complete = len(there) == len(self._rows)
        if not there or not (self.complete or partial):
            lost = len(self._rows) - len(there)
            raise LayoutError(
                f"{lost} of {len(self._rows)} pictures of {path.name} are missing from {self.root / 'val2017'} "
                "(--allow-partial scores the rest)"
            )
        self._rows = there
        self._areas = (smallest_area, largest_area)
        self._keep_crowds = keep_crowds
        self.classes = tuple(_words(row["name"]) for row in categories)
        kinds = [bool(row["isthing"]) for row in categories]
        self.groups = {
            "thing": tuple(label for label, thing in enumerate(kinds) if thing),
            "stuff": tuple(label for label, thing in enumerate(kinds) if not thing),
        }

    def __len__(self) -> int:
        return len(self._rows)

    def _picture(self, row: Mapping[str, Any]) -> Path:
        return self.root / "val2017" / self._images[row["image_id"]]["file_name"]

    def __getitem__(self, index: int) -> DetectionSample:
        row = self._rows[index]
        name = self._picture(row).name
        image = read_stored_image(self._picture(row))
        code = read_stored_image(self.root / "annotations" / "panoptic_val2017" / row["file_name"]).astype(np.int64)
        ids = code[..., 0] + 256 * code[..., 1] + 65536 * code[..., 2]
        if ids.shape != image.shape[:2]:
            raise LayoutError(f"{row['file_name']} and {name} differ in size: {ids.shape} and {image.shape[:2]}")
        segments = [(part, self._box(part, ids)) for part in row["segments_info"] if self._wanted(part)]
        low, high = self._areas
        kept = [(part, box) for part, box in segments if low <= (box[2] - box[0]) * (box[3] - box[1]) <= high]
        kept = kept[:MOST_SEGMENTS]
        return DetectionSample(
            image=image,
            boxes=np.array([box for _, box in kept], np.float32).reshape(-1, 4),
            labels=np.array([self._labels[part["category_id"]] for part, _ in kept], np.int64),
            masks=tuple(encode_rle(ids == part["id"]) for part, _ in kept),
            crowd=np.array([bool(part.get("iscrowd")) for part, _ in kept], bool),
            image_id=row["image_id"],
            name=Path(name).stem,
        )

    def _wanted(self, part: Mapping[str, Any]) -> bool:
        return self._keep_crowds or not part.get("iscrowd")

    def _box(self, part: Mapping[str, Any], ids: np.ndarray) -> tuple[float, float, float, float]:
        if self._labels[part["category_id"]] in self.groups["thing"]:
            x, y, width, height = part["bbox"]
            return x, y, x + width, y + height
        rows, columns = np.nonzero(ids == part["id"])
        if not len(rows):
            return 0.0, 0.0, 0.0, 0.0
        return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def _words(name: str) -> str:
    """``"sky-other-merged"`` -> ``"sky"``, ``"wall-brick"`` -> ``"wall brick"``."""
    return as_words(name.removesuffix("-merged").removesuffix("-other").replace("-", " "))
