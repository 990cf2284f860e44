"""The benchmarks of detection: COCO, LVIS, Objects365 and PASCAL VOC from files, and the world's scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ovperc.data.benchmark import ON_DISK, Archive, Benchmark, Source
from ovperc.data.detection.annotations import read_annotations, with_boxes_only, without_labels
from ovperc.data.detection.eval_settings import DetectionEvalSettings
from ovperc.data.detection.files import DetectionFiles
from ovperc.data.detection.panoptic import PanopticRegions
from ovperc.data.detection.sample import DetectionTruth
from ovperc.data.detection.splits import COCO_GROUPS, LVIS_BASE, OV_COCO_BASE, OV_COCO_NOVEL, OV_COCO_UNUSED
from ovperc.data.detection.voc import read_voc
from ovperc.data.detection.yolo import read_yolo
from ovperc.data.layout import LayoutError, contents_of, resolve_root
from ovperc.data.segmentation.sets import COCO_SAMPLE
from ovperc.data.world.benchmark import WORLD_WEIGHTS
from ovperc.data.world.detection import WorldDetection
from ovperc.data.world.regions import WorldRegions
from ovperc.text.class_names import load_class_names

_VOCABULARIES = ("65", "80")
_IMAGE_SETS = ("all", "with_boxes")
_COCO_LICENCE = "images: Flickr terms of use; annotations: CC BY 4.0"

_COCO = Source(
    ("coco",),
    "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    _COCO_LICENCE,
    (
        Archive(
            "val2017.zip",
            "http://images.cocodataset.org/zips/val2017.zip",
            "sha1:4950dc9d00dbe1c933ee0170f5797584351d2a41",
        ),
        Archive(
            "annotations_trainval2017.zip",
            "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
            "sha1:8551ee4bb5860311e79dace7e79cb91e432e78b3",
        ),
    ),
)
_PANOPTIC = Source(
    ("coco",),
    "Kirillov et al., Panoptic Segmentation, CVPR 2019",
    _COCO_LICENCE,
    (
        _COCO.archives[0],
        Archive(
            "panoptic_annotations_trainval2017.zip",
            "http://images.cocodataset.org/annotations/panoptic_annotations_trainval2017.zip",
        ),
    ),
    unpack="also unpack the panoptic_val2017.zip inside, into annotations/panoptic_val2017",
)
_LVIS = Source(
    ("lvis",),
    "Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019",
    "images: Flickr terms of use; annotations: CC BY 4.0",
    homepage="https://www.lvisdataset.org/dataset",
    unpack="its images are those of COCO train2017 and val2017",
)
_OBJECTS365 = Source(
    ("objects365",),
    "Shao et al., Objects365: A Large-Scale, High-Quality Dataset for Object Detection, ICCV 2019",
    "annotations: CC BY 4.0",
    homepage="https://www.objects365.org",
)
_VOC07 = Source(
    ("VOCdevkit/VOC2007",),
    "Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010",
    "images: Flickr terms of use; annotations: free for research",
    homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
)


@dataclass(frozen=True)
class DetectionBenchmark(Benchmark):
    """A test set with boxes.

    Attributes:
        protocol: how it is scored.
    """

    task: str = "detection"
    protocol: DetectionEvalSettings = field(default_factory=DetectionEvalSettings)


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
    folder = resolve_root(root, *_COCO.folders)
    path = Path(annotations) if annotations else folder / "annotations" / f"instances_{split}2017.json"
    truth = read_annotations(path, (*OV_COCO_BASE, *OV_COCO_NOVEL), COCO_GROUPS)
    if split == "train":
        truth = without_labels(truth, truth.groups["novel"])
    if split == "train" or image_set == "with_boxes":
        truth = with_boxes_only(truth)
    asked = OV_COCO_UNUSED if vocabulary == "80" else ()
    folders = (folder / f"{split}2017", folder / "images" / f"{split}2017", folder)
    return _there(DetectionFiles(truth, folders, asked), partial)


def open_ov_lvis(root: str | Path | None, split: str = "val", partial: bool = False) -> DetectionFiles:
    """LVIS v1: 866 base classes (frequent and common), 337 novel ones (rare).

    Its pictures are COCO's and lie in ``train2017`` and ``val2017`` of the same folder, or of ``coco`` beside it.

    Args:
        root: ``lvis_v1_val.json``, at the top or in ``annotations/``.
        split: ``val``; ``train`` has annotations of base classes alone, but all names, so that labels stay.
        partial: score the pictures that are there.
    """
    _one_of("split", split, ("train", "val"))
    folder = resolve_root(root, *_LVIS.folders)
    name = f"lvis_v1_{split}.json"
    path = folder / "annotations" / name
    truth = read_annotations(path if path.is_file() else folder / name)
    if split == "train":
        novel = [label for group, labels in truth.groups.items() if group not in LVIS_BASE for label in labels]
        truth = with_boxes_only(without_labels(truth, novel))
    return _there(DetectionFiles(truth, (folder, folder / "images", folder.parent / "coco")), partial)


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


def open_read(
    source: Source,
    read: Callable[[Path], DetectionTruth],
    folders: tuple[str, ...],
    root: str | Path | None,
    partial: bool = False,
) -> DetectionFiles:
    """A set whose annotations are read as they are.

    Args:
        source: its files.
        read: annotations below its root.
        folders: where pictures may lie below the root.
        root: the set's folder, or the folder of all sets.
        partial: score the pictures that are there.
    """
    folder = resolve_root(root, *source.folders)
    return _there(DetectionFiles(read(folder), [folder / name for name in folders]), partial)


def open_coco_sample(root: str | Path | None, split: str = "val2017", partial: bool = False) -> DetectionFiles:
    """The first images of COCO with boxes of 80 classes."""
    layout = COCO_SAMPLE.layout.of_split(split)
    folder = resolve_root(root, *COCO_SAMPLE.folders)
    names = load_class_names("coco_panoptic").classes[:80]
    truth = read_yolo(layout.image_folder(folder), folder / "boxes" / split, names)
    return _there(DetectionFiles(truth, [layout.image_folder(folder)]), partial)


def open_coco_file(
    root: str | Path | None, annotations: str = "", images: str = "", upright: bool = True, partial: bool = False
) -> DetectionFiles:
    """One's own set in COCO's layout, all its categories asked together.

    Args:
        root: folder that holds both.
        annotations: the JSON file, below the root; left out, the only one there or in ``annotations/``.
        images: folder of the pictures, below the root; left out, the root, ``images/`` and the file's folder.
        upright: whether boxes were drawn on pictures turned by their EXIF tag, as labelling tools show them.
        partial: score the pictures that are there.

    Raises:
        LayoutError: no annotation file or several, a wrong entry in it, categories of one name, or pictures are
            missing.
    """
    folder = resolve_root(root)
    found = sorted([*folder.glob("*.json"), *(folder / "annotations").glob("*.json")])
    path = folder / annotations if annotations else found[0] if len(found) == 1 else None
    if path is None:
        some = ", ".join(file.relative_to(folder).as_posix() for file in found[:5]) or contents_of(folder)
        raise LayoutError(f"{folder}: name one annotation file with data.annotations=FILE.json; found {some}")
    places = [folder / images] if images else [folder, folder / "images", path.parent]
    truth = read_annotations(path, groups={}, folders=places)
    repeated = next((name for name in truth.names if truth.names.count(name) > 1), None)
    if repeated is not None:
        raise LayoutError(f"{path}: two categories are called {repeated!r}; give each a name of its own")
    return _there(DetectionFiles(truth, places, upright=upright), partial)


def _read_coco(folder: Path) -> DetectionTruth:
    return read_annotations(folder / "annotations" / "instances_val2017.json", groups={})


def _read_objects365(folder: Path) -> DetectionTruth:
    return read_annotations(folder / "annotations" / "objects365_val.json")


def _transfer(classes: int) -> dict[str, str]:
    return {"split": f"none: transfer, all {classes} classes alike"}


_SCENES: dict[str, Any] = {
    "split": "test", "num_scenes": 200, "size_px": 112, "seed": 0, "vocabulary": "pattern_colour"
}  # fmt: skip

DETECTION_SETS: tuple[DetectionBenchmark, ...] = (
    DetectionBenchmark(
        "world-ovd",
        "boxes of pattern x colour objects, half of them with pairs held out of training",
        WorldDetection,
        _SCENES,
        weights=WORLD_WEIGHTS,
        protocol=DetectionEvalSettings(
            headline="AP50.novel",
            regions=True,
            tags={"split": "held-out pattern-colour pairs are novel, no training image or caption shows one"},
        ),
    ),
    DetectionBenchmark(
        "world-regions",
        "the same objects and their materials to be named, boxes and masks given",
        WorldRegions,
        _SCENES,
        weights=WORLD_WEIGHTS,
        evaluation="regions",
    ),
    DetectionBenchmark(
        "ov_coco",
        "COCO val2017, boxes of 48 base and 17 novel classes",
        open_ov_coco,
        {**ON_DISK, "split": "val", "vocabulary": "65", "image_set": "all", "annotations": ""},
        _COCO,
        protocol=DetectionEvalSettings(
            headline="AP50.novel", tags={"split": "OV-COCO, 48 base and 17 novel classes, scored together"}
        ),
    ),
    DetectionBenchmark(
        "ov_lvis",
        "LVIS v1 val, masks of 866 base and 337 novel classes",
        open_ov_lvis,
        {**ON_DISK, "split": "val"},
        _LVIS,
        protocol=DetectionEvalSettings(
            "lvis",
            kind="segm",
            per_image=300,
            headline="APr",
            tags={"split": "LVIS v1, 866 base (f, c) and 337 novel (r) classes", "metric": "federated"},
        ),
    ),
    DetectionBenchmark(
        "coco_transfer",
        "COCO val2017, 80 classes",
        partial(open_read, _COCO, _read_coco, ("val2017", "images/val2017", "")),
        ON_DISK,
        _COCO,
        protocol=DetectionEvalSettings(tags=_transfer(80)),
    ),
    DetectionBenchmark(
        "objects365_transfer",
        "Objects365 v1 val, 365 classes",
        partial(open_read, _OBJECTS365, _read_objects365, ("val", "images/val", "")),
        ON_DISK,
        _OBJECTS365,
        protocol=DetectionEvalSettings(per_image=300, tags=_transfer(365)),
    ),
    DetectionBenchmark(
        "voc07_transfer",
        "VOC 2007 test, 20 classes",
        partial(open_read, _VOC07, read_voc, ("JPEGImages",)),
        ON_DISK,
        _VOC07,
        protocol=DetectionEvalSettings("voc", headline="AP50", tags={**_transfer(20), "metric": "11 points"}),
    ),
    DetectionBenchmark(
        "coco-sample-boxes",
        "first 128 images of COCO val2017, boxes of 80 classes",
        open_coco_sample,
        {**ON_DISK, "split": "val2017"},
        COCO_SAMPLE,
        protocol=DetectionEvalSettings(tags=_transfer(80)),
    ),
    DetectionBenchmark(
        "coco_file",
        "your own pictures with boxes in a COCO file",
        open_coco_file,
        {**ON_DISK, "annotations": "", "images": "", "upright": True},
        Source(),
        protocol=DetectionEvalSettings(tags={"split": "none: all classes alike"}),
    ),
    DetectionBenchmark(
        "coco_regions",
        "COCO val2017 panoptic, 80 things and 53 stuff classes to be named, boxes and masks given",
        PanopticRegions,
        ON_DISK,
        _PANOPTIC,
        evaluation="regions",
    ),
)
