"""COCO's panoptic annotations on disk: a document, and a PNG of segment ids for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ovperc.core.panoptic import PanopticMap, Segment
from ovperc.data.detection.coco_document import read_document
from ovperc.data.layout import LayoutError
from ovperc.data.panoptic.sample import STUFF, THING, PanopticSample
from ovperc.io.images import read_image
from ovperc.io.panoptic import read_ids


class PanopticFiles(Dataset):
    """Annotated photographs in order of image id.

    Args:
        document: the JSON file.
        maps: folder of the PNGs.
        pictures: folder of the photographs.
        words: label -> words, where categories are not asked by their own names; labels follow rising category ids.
        partial: leave out pictures that are not there.

    Attributes:
        classes: label -> words.
        category_ids: label -> category id.
        groups: ``thing`` and ``stuff``.
        rows: annotation rows, in order.
        complete: whether all pictures are there.

    Raises:
        LayoutError: no such file, no category or another number of them than ``words``, or pictures are missing.
    """

    def __init__(
        self,
        document: Path,
        maps: Path,
        pictures: Path,
        words: Sequence[str] | None = None,
        partial: bool = False,
    ) -> None:
        content = read_document(document)
        categories = sorted(content["categories"], key=lambda row: row["id"])
        self.classes = tuple(row["name"] for row in categories) if words is None else tuple(words)
        if not categories or len(self.classes) != len(categories):
            raise LayoutError(f"{document} has {len(categories)} categories; expected {len(self.classes) or 'some'}")
        self.category_ids = tuple(row["id"] for row in categories)
        is_thing = [bool(row["isthing"]) for row in categories]
        self.groups: Mapping[str, tuple[int, ...]] = {
            THING: tuple(label for label, thing in enumerate(is_thing) if thing),
            STUFF: tuple(label for label, thing in enumerate(is_thing) if not thing),
        }
        self._labels = {number: label for label, number in enumerate(self.category_ids)}
        self._maps, self._pictures = maps, pictures
        self._images = {row["id"]: row for row in content["images"]}
        rows = sorted(content["annotations"], key=lambda row: row["image_id"])
        self.rows = [row for row in rows if self._picture(row).is_file()]
        self.complete = len(self.rows) == len(rows)
        if not self.rows or not (self.complete or partial):
            raise LayoutError(
                f"{len(rows) - len(self.rows)} of {len(rows)} pictures of {document.name} are missing from {pictures} "
                "(--allow-partial scores the rest)"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> PanopticSample:
        row, picture = self.rows[index], self._picture(self.rows[index])
        segments = [
            Segment(part["id"], self._labels[part["category_id"]], crowd=bool(part.get("iscrowd")))
            for part in row["segments_info"]
        ]
        try:
            panoptic = PanopticMap(read_ids(self._maps / row["file_name"]), tuple(segments))
            return PanopticSample(read_image(picture, upright=False), panoptic, row["image_id"], picture.stem)
        except ValueError as error:
            raise LayoutError(f"{self._maps / row['file_name']}: {error}") from error

    def _picture(self, row: Mapping[str, Any]) -> Path:
        return self._pictures / self._images[row["image_id"]]["file_name"]
