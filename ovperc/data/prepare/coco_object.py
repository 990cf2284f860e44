"""COCO-Stuff maps, or COCO instances, -> COCO-Object: background and 80 things."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovperc.data.annotations import AnnotationError, encode_annotation, read_annotation
from ovperc.data.label_map import load_label_map
from ovperc.data.layout import LayoutError
from ovperc.data.prepare.conversion import Conversion, Job
from ovperc.data.prepare.json_files import read_json
from ovperc.io.coco import decode_rle, to_rle

_STUFF_FOLDERS = ("annotations/val2017", "stuffthingmaps/val2017")
_INSTANCES = "annotations/instances_val2017.json"
_SUFFIX = "_instanceTrainIds.png"
_CROWD = 255


class CocoObject(Conversion):
    """Creates ``*_instanceTrainIds.png`` next to the stuff maps.

    With ``stuffthingmaps`` (used by published results), things keep their pixels, including crowds; stuff and
    unlabelled pixels are background. Without them, from the instance file: masks are painted from large to small,
    uncovered crowd pixels become void, and images without instances are all background.
    """

    name = "coco_object"

    def jobs(self) -> tuple[Job, ...]:
        maps = {path.stem: path for folder in _STUFF_FOLDERS for path in sorted((self.root / folder).glob("*.png"))}
        self._maps = {stem: path for stem, path in maps.items() if "TrainIds" not in stem}
        if self._maps:
            return tuple(self._job(stem, path.parent) for stem, path in self._maps.items())
        instances = self.root / _INSTANCES
        if not instances.is_file():
            raise LayoutError(
                f"{self.root}: expected {' or '.join(f'{folder}/*.png' for folder in _STUFF_FOLDERS)} "
                f"(stuffthingmaps_trainval2017.zip) or {_INSTANCES}, found none of them"
            )
        self._images, self._instances = _read_instances(instances)
        return tuple(self._job(stem, self.root / _STUFF_FOLDERS[0]) for stem in sorted(self._images))

    def _job(self, stem: str, folder: Path) -> Job:
        return Job(stem, ((folder.relative_to(self.root) / f"{stem}{_SUFFIX}").as_posix(),))

    def convert(self, job: Job) -> Mapping[str, bytes]:
        if self._maps:
            source = self._maps[job.key]
            labels = load_label_map("coco_stuff_to_object").apply(read_annotation(source), source)
        else:
            labels = _paint(self._images[job.key], self._instances[job.key], job.key)
        return {job.targets[0]: encode_annotation(labels, ".png")}


def _read_instances(path: Path) -> tuple[dict[str, tuple[int, int]], dict[str, list[dict[str, Any]]]]:
    """Sizes ``(H, W)`` and annotations by file stem."""
    content = read_json(path, required=("images", "annotations"))
    try:
        stems = {entry["id"]: Path(entry["file_name"]).stem for entry in content["images"]}
        sizes = {stems[entry["id"]]: (entry["height"], entry["width"]) for entry in content["images"]}
        by_stem: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            by_stem[stems[entry["image_id"]]].append(entry)
    except (KeyError, TypeError) as error:
        raise AnnotationError(f"{path}: an image or annotation lacks {error}; copy the file again") from error
    return sizes, by_stem


def _paint(size_hw: tuple[int, int], annotations: list[dict[str, Any]], name: str) -> np.ndarray:
    """Labels ``(H, W)`` uint8 of an image: crowds first, then instances from large to small."""
    table = load_label_map("coco_categories_to_object")
    labels = np.zeros(size_hw, dtype=np.uint8)
    try:
        order = sorted(annotations, key=lambda entry: (not entry.get("iscrowd", 0), -entry["area"]))
        for entry in order:
            mask = annotated_mask(entry["segmentation"], size_hw, name)
            category = np.array([[entry["category_id"]]], dtype=np.int64)
            labels[mask] = _CROWD if entry.get("iscrowd", 0) else table.apply(category, f"{_INSTANCES}, {name}")[0, 0]
    except (KeyError, TypeError) as error:
        raise AnnotationError(
            f"{_INSTANCES}, image {name}: an annotation lacks {error}; copy the file again"
        ) from error
    return labels


def annotated_mask(segmentation: Any, size_hw: tuple[int, int], name: str) -> np.ndarray:
    """Decodes a mask ``(H, W)`` bool of an annotation.

    Raises:
        AnnotationError: it cannot be decoded, or has another size.
    """
    try:
        return decode_rle(to_rle(segmentation, size_hw))
    except ValueError as error:
        raise AnnotationError(f"{name}: {error}; copy the annotation file again") from error
