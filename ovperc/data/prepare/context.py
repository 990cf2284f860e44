"""PASCAL Context: the 59-class index images and the 459-class ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovperc.data.annotations import AnnotationError, encode_annotation
from ovperc.data.label_map import load_label_map
from ovperc.data.layout import LayoutError
from ovperc.data.prepare.coco_object import annotated_mask
from ovperc.data.prepare.conversion import Conversion, Job
from ovperc.data.prepare.json_files import read_json

_MERGED = "trainval_merged.json"
_LIST = "ImageSets/SegmentationContext/val.txt"
_LISTS = (_LIST, "pascalcontext_val.txt")


class Context(Conversion):
    """``trainval_merged.json`` -> ``SegmentationClassContext/*.png`` and the list of the val split.

    Labels are those of mmsegmentation's converter: 0 background, then the 59 classes. Later annotations of an image
    cover earlier ones.
    """

    name = "context"

    def jobs(self) -> tuple[Job, ...]:
        path = self.root / _MERGED
        if not path.is_file():
            raise LayoutError(
                f"{self.root}: expected {_MERGED} next to JPEGImages, found none; download it into this folder"
            )
        self._sizes, self._annotations = _read_merged(path)
        images = (Job(stem, (f"SegmentationClassContext/{stem}.png",)) for stem in sorted(self._sizes))
        return (*images, Job(_LIST, (_LIST,)))

    def convert(self, job: Job) -> Mapping[str, bytes]:
        if job.key == _LIST:
            return {_LIST: "".join(f"{stem}\n" for stem in sorted(self._sizes)).encode()}
        numbers = np.zeros(self._sizes[job.key], dtype=np.uint16)
        for entry in self._annotations[job.key]:
            try:
                mask = annotated_mask(entry["segmentation"], numbers.shape, f"{_MERGED}, {job.key}")
                numbers[mask] = entry["category_id"]
            except (KeyError, TypeError) as error:
                raise AnnotationError(f"{_MERGED}, image {job.key}: an annotation lacks {error}") from error
        labels = load_label_map("context459_to_60").apply(numbers, f"{_MERGED}, {job.key}")
        return {job.targets[0]: encode_annotation(labels, ".png")}


class Pc459(Conversion):
    """``trainval/*.mat`` -> ``annotations_detectron2/pc459_val/*.tif``, 16 bit, labels 0..458; unlabelled is 65535."""

    name = "pc459"

    def jobs(self) -> tuple[Job, ...]:
        folder = self.root / "trainval"
        if not folder.is_dir():
            raise LayoutError(
                f"{self.root}: expected trainval/*.mat, found no folder trainval; unpack trainval.tar.gz here"
            )
        stems = _val_stems(self.root)
        missing = [stem for stem in stems if not (folder / f"{stem}.mat").is_file()]
        if missing:
            raise LayoutError(
                f"{folder}: expected {len(stems)} .mat files of the val split, found {len(stems) - len(missing)}; "
                f"missing {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. Unpack trainval.tar.gz again"
            )
        return tuple(Job(stem, (f"annotations_detectron2/pc459_val/{stem}.tif",)) for stem in stems)

    def convert(self, job: Job) -> Mapping[str, bytes]:
        source = self.root / "trainval" / f"{job.key}.mat"
        labels = load_label_map("context459_to_pc459").apply(_read_label_map(source), source)
        return {job.targets[0]: encode_annotation(labels, ".tif")}


def _read_merged(path: Path) -> tuple[dict[str, tuple[int, int]], dict[str, list[dict[str, Any]]]]:
    """Sizes ``(H, W)`` and annotations of the val images, by file stem."""
    content = read_json(path, required=("images", "annos_segmentation"))
    try:
        val = [entry for entry in content["images"] if entry["phase"] == "val"]
        stems = {entry["image_id"]: Path(entry["file_name"]).stem for entry in val}
        sizes = {stems[entry["image_id"]]: (entry["height"], entry["width"]) for entry in val}
        by_stem: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in content["annos_segmentation"]:
            if entry["image_id"] in stems:
                by_stem[stems[entry["image_id"]]].append(entry)
    except (KeyError, TypeError) as error:
        raise AnnotationError(f"{path}: an image or annotation lacks {error}; download the file again") from error
    return sizes, by_stem


def _val_stems(root: Path) -> tuple[str, ...]:
    for name in _LISTS:
        if (root / name).is_file():
            return tuple(sorted((root / name).read_text(encoding="utf-8").split()))
    if (root / _MERGED).is_file():
        return tuple(sorted(_read_merged(root / _MERGED)[0]))
    raise LayoutError(f"{root}: the val split is unknown; expected {' or '.join((*_LISTS, _MERGED))}, found none")


def _read_label_map(path: Path) -> np.ndarray:
    """``LabelMap`` of a release file, ``(H, W)`` uint16."""
    from scipy.io import loadmat

    try:
        numbers = loadmat(path)["LabelMap"]
    except KeyError as error:
        raise AnnotationError(
            f"{path}: expected a variable LabelMap, found none; unpack trainval.tar.gz again"
        ) from error
    except Exception as error:  # scipy raises various exceptions for corrupt files
        raise AnnotationError(f"{path}: cannot be read ({error}); unpack trainval.tar.gz again") from error
    return numbers
