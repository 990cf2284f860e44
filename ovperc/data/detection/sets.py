"""The test sets of detection by name, as the table of benchmarks opens them."""

from __future__ import annotations

from pathlib import Path

from ovperc.data.detection.annotations import read_annotations, with_boxes_only, without_labels
from ovperc.data.detection.files import DetectionFiles
from ovperc.data.detection.splits import COCO_GROUPS, LVIS_BASE, OV_COCO_BASE, OV_COCO_NOVEL, OV_COCO_UNUSED
from ovperc.data.detection.voc import read_voc
from ovperc.data.layout import LayoutError, resolve_root

_COCO = "coco"
_VOCABULARIES = ("65", "80")
_IMAGE_SETS = ("all", "with_boxes")


def open_ov_coco(
    root: str | Path | None,
    split: str = "val",
    vocabulary: str = "65",
    image_set: str = "all",
    annotations: str = "",
    partial: bool = False,
) -> DetectionFiles:
    """OV-COCO, by default as it is scored today: val2017, 65 classes asked together.

    Args:
        root: COCO's folder: ``annotations/instances_val2017.json``, ``val2017/``.
        split: ``val``; ``train`` has boxes of base classes alone, on pictures that have one.
        vocabulary: ``65`` asks for base and novel classes, ``80`` for the 15 unused ones too.
        image_set: ``all`` pictures, or those ``with_boxes`` of the 65 classes.
        annotations: another file in one of the layouts in use: 80 categories, or 65 (``..._seen_2_65_cat.json``).
        partial: score the pictures that are there.
    """
    _one_of("vocabulary", vocabulary, _VOCABULARIES)
    _one_of("image_set", image_set, _IMAGE_SETS)
    _one_of("split", split, ("train", "val"))
    folder = resolve_root(root, _COCO)
    path = Path(annotations) if annotations else folder / "annotations" / f"instances_{split}2017.json"
    truth = read_annotations(path, (*OV_COCO_BASE, *OV_COCO_NOVEL), COCO_GROUPS)
    if split == "train":
        truth = without_labels(truth, truth.groups["novel"])
    if split == "train" or image_set == "with_boxes":
        truth = with_boxes_only(truth)
    asked = OV_COCO_UNUSED if vocabulary == "80" else ()
    folders = (folder / f"{split}2017", folder / "images" / f"{split}2017", folder)
    return _there(DetectionFiles(truth, folders, asked), partial)


def open_coco(root: str | Path | None, partial: bool = False) -> DetectionFiles:
    """COCO val2017 with its 80 classes: a transfer from LVIS."""
    folder = resolve_root(root, _COCO)
    truth = read_annotations(folder / "annotations" / "instances_val2017.json", groups={})
    return _there(DetectionFiles(truth, (folder / "val2017", folder / "images" / "val2017", folder)), partial)


def open_ov_lvis(root: str | Path | None, split: str = "val", partial: bool = False) -> DetectionFiles:
    """LVIS v1: 866 base classes (frequent and common), 337 novel ones (rare).

    Its pictures are COCO's and lie in ``train2017`` and ``val2017`` of the same folder, or of ``coco`` beside it.

    Args:
        root: ``lvis_v1_val.json``, at the top or in ``annotations/``.
        split: ``val``; ``train`` has annotations of base classes alone, but all names, so that labels stay.
        partial: score the pictures that are there.
    """
    _one_of("split", split, ("train", "val"))
    folder = resolve_root(root, "lvis")
    name = f"lvis_v1_{split}.json"
    path = folder / "annotations" / name
    truth = read_annotations(path if path.is_file() else folder / name)
    if split == "train":
        novel = [label for group, labels in truth.groups.items() if group not in LVIS_BASE for label in labels]
        truth = with_boxes_only(without_labels(truth, novel))
    return _there(DetectionFiles(truth, (folder, folder / "images", folder.parent / _COCO)), partial)


def open_objects365(root: str | Path | None, partial: bool = False) -> DetectionFiles:
    """Objects365 v1 val, 365 classes: a transfer."""
    folder = resolve_root(root, "objects365")
    truth = read_annotations(folder / "annotations" / "objects365_val.json")
    return _there(DetectionFiles(truth, (folder / "val", folder / "images" / "val", folder)), partial)


def open_voc(root: str | Path | None, partial: bool = False) -> DetectionFiles:
    """PASCAL VOC 2007 test, 20 classes: a transfer."""
    folder = resolve_root(root, "VOCdevkit/VOC2007")
    return _there(DetectionFiles(read_voc(folder, "test"), (folder / "JPEGImages",)), partial)


def _one_of(argument: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}; got {value!r}")


def _there(images: DetectionFiles, partial: bool) -> DetectionFiles:
    """The set, once its pictures are found; some of them if that is allowed."""
    missing = []
    found = []
    for index in range(len(images)):
        try:
            images.image_path(index)
            found.append(index)
        except LayoutError as error:
            missing.append(error)
    if not missing:
        return images
    if not partial or not found:
        raise LayoutError(
            f"{len(missing)} of {len(images)} pictures are missing: {missing[0]} (--allow-partial scores the rest)"
        )
    return images.select(found)
