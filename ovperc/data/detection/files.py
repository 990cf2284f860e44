"""Photographs with boxes on disk, in the layouts of COCO, LVIS, Objects365 and PASCAL VOC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ovperc.data.detection.sample import DetectionSample, DetectionTruth
from ovperc.data.layout import LayoutError, relative_name
from ovperc.io.coco import to_rle
from ovperc.io.images import read_image
from ovperc.registry import DATASETS


@DATASETS.register_module()
class DetectionFiles(Dataset):
    """Annotated photographs.

    Boxes of a sample are clipped to the picture; one without area is left out. The truth keeps boxes as they are
    in the file.

    Args:
        truth: annotations.
        folders: where pictures may lie; the first that has one is taken.
        asked: words asked for beyond those that are annotated, after them (``classes``).
        upright: turn pictures by their EXIF tag, for boxes that were drawn on what programs show.

    Attributes:
        classes: label -> words.
        groups: name of a subset -> labels.
        complete: whether all pictures of the set are there.
    """

    def __init__(
        self,
        truth: DetectionTruth,
        folders: Sequence[str | Path],
        asked: Sequence[str] = (),
        upright: bool = False,
    ) -> None:
        if not truth.images:
            raise LayoutError("the annotation file lists no image; there is nothing to score")
        self.complete = True
        self._asked = tuple(asked)
        self._upright = upright
        self._truth = truth
        self._folders = tuple(Path(folder) for folder in folders)
        self.classes: tuple[str, ...] = (*truth.names, *asked)
        self.groups: Mapping[str, tuple[int, ...]] = truth.groups
        self._labels = {number: label for label, number in enumerate(truth.category_ids)}
        self._rows: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for row in truth.annotations:
            self._rows[row["image_id"]].append(row)

    def __len__(self) -> int:
        return len(self._truth.images)

    def image_path(self, index: int) -> Path:
        """The file of a picture.

        Raises:
            LayoutError: none of the folders has it.
        """
        name = picture_name(self._truth.images[index])
        places = [folder / part for folder in self._folders for part in (name, Path(name).name)]
        found = next((path for path in places if path.is_file()), None)
        if found is None:
            looked = ", ".join(str(folder) for folder in self._folders)
            raise LayoutError(f"the picture {name} is in none of {looked}; unpack the images there")
        return found

    def __getitem__(self, index: int) -> DetectionSample:
        row = self._truth.images[index]
        image = read_image(self.image_path(index), self._upright)
        if image.shape[:2] != (row["height"], row["width"]):
            turned = image.shape[1::-1] == (row["height"], row["width"])
            hint = " (turned by its EXIF tag? coco_file has the option data.upright)" if turned else ""
            raise LayoutError(
                f"{self.image_path(index)} is {image.shape[1]} x {image.shape[0]} px, the annotations say "
                f"{row['width']} x {row['height']}: these are other pictures{hint}"
            )
        return self._sample(image, row)

    def _sample(self, image: np.ndarray, row: Mapping[str, Any]) -> DetectionSample:
        height, width = image.shape[:2]
        rows = self._rows[row["id"]]
        boxes = np.array([entry["bbox"] for entry in rows], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = np.clip(boxes, 0, [width, height, width, height])
        usable = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        rows = [rows[number] for number in usable]
        masked = bool(rows) and all(entry.get("segmentation") for entry in rows)
        return DetectionSample(
            image=image,
            boxes=boxes[usable].astype(np.float32),
            labels=np.array([self._labels[entry["category_id"]] for entry in rows], np.int64),
            masks=tuple(to_rle(entry["segmentation"], (height, width)) for entry in rows) if masked else (),
            crowd=np.array([bool(entry.get("iscrowd") or entry.get("ignore")) for entry in rows], bool),
            image_id=row["id"],
            name=Path(picture_name(row)).stem,
        )

    def truth(self, indices: Sequence[int] | None = None) -> DetectionTruth:
        """All annotations, or those of some images."""
        if indices is None:
            return self._truth
        images = tuple(self._truth.images[index] for index in indices)
        kept = {row["id"] for row in images}
        rows = tuple(row for row in self._truth.annotations if row["image_id"] in kept)
        return replace(self._truth, images=images, annotations=rows)

    def select(self, indices: Sequence[int]) -> DetectionFiles:
        """The pictures that are there of an incomplete copy."""
        chosen = DetectionFiles(self.truth(indices), self._folders, self._asked, self._upright)
        chosen.complete = False
        return chosen


def picture_name(row: Mapping[str, Any]) -> str:
    """File name of a picture; LVIS names the folder too, as its sets are spread over COCO's."""
    if "file_name" in row:
        return str(row["file_name"])
    if "coco_url" in row:
        return relative_name("/".join(str(row["coco_url"]).split("/")[-2:]), f"image {row['id']}: coco_url")
    raise LayoutError(f"image {row['id']} has neither file_name nor coco_url")
