"""Layouts of public anomaly data sets."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath

import numpy as np

from ovperc.data.annotations import read_annotation
from ovperc.data.anomaly.records import GOOD
from ovperc.data.anomaly.scanning import (
    FoundImage,
    child,
    folders_in,
    images_in,
    is_normal,
    need_masks,
    pair_masks,
    scan_kinds,
    scan_splits,
    warn_of_omissions,
    with_masks,
)
from ovperc.data.layout import LayoutError, contents_of, relative_name

Scan = Callable[[Path], list[FoundImage]]
_KOLEKTOR_SEED, _KOLEKTOR_TRAIN = 42, 0.8


@dataclass(frozen=True)
class AnomalyLayout:
    """Layout of an anomaly data set on disk.

    Attributes:
        scan: function that finds the images below the root.
        categories: categories of the full data set; empty if any are accepted.
        words: category -> object name, where it is not the category with spaces for underscores.
        upright: whether masks were drawn on images turned by their EXIF tag.
    """

    scan: Scan
    categories: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    upright: bool = False


def scan_mvtec(root: Path) -> list[FoundImage]:
    """``CATEGORY/{train,test,ground_truth}`` (MVTec AD, BTAD, MPDD, DTD-Synthetic), or a single category."""
    if child(root, "test"):
        return scan_splits(root, root.name)
    found: list[FoundImage] = []
    for folder in folders_in(root):
        if child(folder, "test"):
            found += scan_splits(folder, folder.name)
    if not found:
        raise LayoutError(f"{root}: expected folders CATEGORY/test/TYPE, found {contents_of(root)}")
    return found


def scan_visa(root: Path) -> list[FoundImage]:
    """VisA as downloaded (files listed in ``split_csv/1cls.csv``), or in MVTec AD's layout, optionally in ``1cls``."""
    listing = root / "split_csv" / "1cls.csv"
    if not listing.is_file():
        inner = child(root, "1cls") or root
        if any(child(folder, "Data") for folder in folders_in(root)):
            raise LayoutError(f"{root}: expected split_csv/1cls.csv next to the categories, found {contents_of(root)}")
        return scan_mvtec(inner)
    with listing.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    missing = {"object", "split", "label", "image", "mask"} - set(rows[0] if rows else ())
    if missing:
        raise LayoutError(f"{listing}: expected columns object, split, label, image, mask; {min(missing)!r} is missing")
    found = []
    for row in rows:
        anomalous = row["label"].strip().lower() != "normal"
        found.append(
            FoundImage(
                root / relative_name(row["image"].strip(), f"{listing}: image"),
                row["object"].strip(),
                "bad" if anomalous else GOOD,
                row["split"].strip().lower() == "train",
                root / relative_name(row["mask"].strip(), f"{listing}: mask")
                if anomalous and row["mask"].strip()
                else None,
            )
        )
    # Missing categories can be skipped; missing files within a category cannot.
    there = {item.category for item in found if (root / item.category).is_dir()}
    return list(need_masks([item for item in found if item.category in there], root))


def scan_dagm(root: Path) -> list[FoundImage]:
    """``Class1/{Train,Test}/0576.PNG`` with ``Label/0576_label.PNG``; an image without label is normal."""
    found = []
    for folder in folders_in(root):
        tests = child(folder, "Test")
        if not folder.name.lower().startswith("class") or tests is None:
            continue
        for part, train in ((child(folder, "Train"), True), (tests, False)):
            images = images_in(part) if part else []
            labels = child(part, "Label") if part else None
            masks = pair_masks(images, images_in(labels)) if labels else {}
            for image in images:
                kind = "defect" if image in masks else GOOD
                if not (train and kind != GOOD):  # anomalous training images are not used
                    found.append(FoundImage(image, folder.name, kind, train, masks.get(image)))
    if not found:
        raise LayoutError(f"{root}: expected folders Class1/Test and so on, found {contents_of(root)}")
    return found


def scan_kolektor(root: Path) -> list[FoundImage]:
    """KolektorSDD, rearranged (``electrical commutators/{train,test,ground_truth}``) or as downloaded (``kos01``).

    The download has no split: four fifths of the normal images, drawn with seed 42, are used for training.
    """
    if child(root, "test"):
        return scan_splits(root, "electrical commutators")
    arranged = child(root, "electrical commutators")
    if arranged:
        return scan_splits(arranged, "electrical commutators")
    found = []
    for folder in folders_in(root):
        if folder.name.lower().startswith("kos"):
            files = images_in(folder)
            labels = [path for path in files if path.stem.lower().endswith("_label")]
            images = [path for path in files if path not in labels]
            masks = pair_masks(images, labels)
            for image in images:
                if image not in masks:
                    raise LayoutError(f"{image}: expected its label {image.stem}_label.bmp, found none")
                damaged = bool(mask_of(masks[image]).any())
                found.append(
                    FoundImage(
                        image,
                        "electrical commutators",
                        "defect" if damaged else GOOD,
                        mask=masks[image] if damaged else None,
                    )
                )
    if not found:
        raise LayoutError(
            f"{root}: expected 'electrical commutators/test' or kos01/Part0.jpg, found {contents_of(root)}"
        )
    normal = [index for index, item in enumerate(found) if not item.anomalous]
    order = np.random.default_rng(_KOLEKTOR_SEED).permutation(len(normal))
    train = {normal[int(place)] for place in order[: int(_KOLEKTOR_TRAIN * len(normal))]}
    return [replace(item, train=index in train) for index, item in enumerate(found)]


def flat(category: str, images: tuple[str, ...], masks: tuple[str, ...]) -> Scan:
    """Anomalous images in one folder and their masks in another (polyps, thyroid nodules)."""

    def scan(root: Path) -> list[FoundImage]:
        masks_in = child(root, *masks)
        where = child(root, *images)
        if where is None and masks_in is not None:
            others = [path for path in folders_in(root) if path != masks_in and images_in(path)]
            where = others[0] if len(others) == 1 else None
        if where is None or masks_in is None:
            raise LayoutError(f"{root}: expected folders {images[0]} and {masks[0]}, found {contents_of(root)}")
        found = [FoundImage(path, category, "anomaly") for path in images_in(where)]
        return list(need_masks(with_masks(found, [masks_in]), root))

    return scan


def kinds(category: str, inner: tuple[str, ...], normal: tuple[str, ...], masks: str = "") -> Scan:
    """One folder per class below ``inner`` (head scans, X-rays), with optional masks in a sibling of ``test``."""

    def scan(root: Path) -> list[FoundImage]:
        folder: Path | None = root
        for name in inner:
            folder = child(folder, name) if folder else None
        if folder is None and root.name.lower() == inner[0].lower():
            folder = root  # the inner folder itself was given
            for name in inner[1:]:
                folder = child(folder, name) if folder else None
        place = folder.parent if folder is not None else root
        mask_folder = child(place, masks) if masks else None
        found = scan_kinds(folder, category, normal) if folder else []
        if not found or (masks and mask_folder is None):
            wanted = "/".join([*inner, "KIND"]) + (f" and {'/'.join([*inner[:-1], masks])}" if masks else "")
            raise LayoutError(f"{root}: expected images in {wanted}, found {contents_of(root)}")
        return list(need_masks(with_masks(found, [mask_folder]), root)) if mask_folder else found

    return scan


def scan_plain(root: Path) -> list[FoundImage]:
    """Custom data: ``good/`` and one folder per defect type, or a folder of these per category.

    ``train/`` (or ``train/good``) holds normal training images. Masks, which are optional, are in ``masks/TYPE`` or
    ``ground_truth/TYPE``. A folder with ``test/`` is read as MVTec AD's layout.
    """
    if child(root, "test"):
        return scan_splits(root, root.name, masks=False)
    if any(is_normal(folder.name) for folder in folders_in(root)):
        return _plain_category(root, root.name)
    found: list[FoundImage] = []
    for folder in folders_in(root):
        if child(folder, "test"):
            found += scan_splits(folder, folder.name, masks=False)
        elif any(is_normal(inner.name) for inner in folders_in(folder)):
            found += _plain_category(folder, folder.name)
    if not found:
        raise LayoutError(
            f"{root}: expected a folder good/ with normal images and one folder per defect type, or a folder "
            f"of these per category; found {contents_of(root)}"
        )
    return found


def _plain_category(folder: Path, category: str) -> list[FoundImage]:
    truth, train = child(folder, "ground_truth", "masks"), child(folder, "train")
    found: list[FoundImage] = []
    for kind in folders_in(folder):
        if kind in (truth, train):
            continue
        name = GOOD if is_normal(kind.name) else kind.name
        here = [FoundImage(path, category, name) for path in images_in(kind)]
        inner = child(truth, kind.name) if truth else None
        paired = with_masks(here, [inner] if inner else [])
        warn_of_omissions(kind, paired, inner)
        found += paired
    learn = [*images_in(train), *images_in(child(train, *("good", "ok", "normal")) or train / "-")] if train else []
    return [*(FoundImage(path, category, train=True) for path in learn), *found]


def scan_meta(root: Path) -> list[FoundImage]:
    """``meta.json`` as used by AnomalyCLIP and others: split -> category -> images with masks.

    Paths may be relative to the root, or absolute paths of the machine that wrote them; splits may be capitalised.

    Raises:
        LayoutError: the file is missing or has another format.
    """
    path = root / "meta.json"
    if not path.is_file():
        raise LayoutError(f"{root}: expected meta.json, found {contents_of(root)}")
    try:
        splits = {name.lower(): rows for name, rows in json.loads(path.read_text(encoding="utf-8-sig")).items()}
        entries = [
            (split == "train", category, row)
            for split in splits
            for category, rows in splits[split].items()
            for row in rows
        ]
        found = [_meta_image(root, train, category, row) for train, category, row in entries]
    except LayoutError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise LayoutError(
            f'{path}: expected {{"train": {{CATEGORY: [{{img_path, mask_path, cls_name, specie_name, anomaly}}]}}, '
            f'"test": ...}}; reading it failed with {error!r}'
        ) from error
    if not any(not item.train for item in found):
        raise LayoutError(f"{path}: no test images listed (splits: {', '.join(splits) or 'none'})")
    return [item for item in found if not (item.train and item.anomalous)]


def _meta_image(root: Path, train: bool, category: str, row: Mapping[str, object]) -> FoundImage:
    anomalous = bool(int(row["anomaly"]))  # type: ignore[call-overload]
    kind = str(row.get("specie_name") or "anomaly") if anomalous else GOOD
    mask = str(row.get("mask_path") or "") if anomalous else ""
    kind = "anomaly" if anomalous and is_normal(kind) else kind
    return FoundImage(_moved(root, str(row["img_path"])), category, kind, train, _moved(root, mask) if mask else None)


def _moved(root: Path, written: str) -> Path:
    """Resolves a path in ``meta.json``: relative to the root, or by the longest existing path suffix."""
    parts = PureWindowsPath(written).parts if "\\" in written else Path(written).parts
    if not Path(written).is_absolute() and not PureWindowsPath(written).drive:
        return root / relative_name(written, f"{root / 'meta.json'}: a path")
    if Path(written).is_file():
        return Path(written)
    ends = (root.joinpath(*parts[start:]) for start in range(1, len(parts)))
    return next((path for path in ends if path.is_file()), root.joinpath(*parts[-2:]))


def mask_of(path: Path, above: int = 0) -> np.ndarray:
    """Reads a mask as ``(H, W)`` bool.

    Args:
        path: image of any mode; palette images are read by index, colour images by their maximum, alpha is ignored.
        above: values above it are anomalous; 0 in published evaluations.

    Raises:
        AnnotationError: the file is missing or corrupt.
    """
    values = read_annotation(path)
    if values.ndim == 3:
        channels = values.shape[2] - (values.shape[2] in (2, 4))
        values = values[..., :channels].max(axis=2)
    return values > above
