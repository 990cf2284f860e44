"""Finds images and masks in folders, with any image suffix and case; masks are matched by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ovperc.data.anomaly.records import GOOD
from ovperc.data.layout import LayoutError, contents_of
from ovperc.io.image_sources import image_files, natural_key

NORMAL_NAMES: frozenset[str] = frozenset({GOOD, "ok", "normal", "no"})
"""Names of folders with normal images, in lower case."""
_MASK_ENDINGS = ("", "_mask", "_label", "_segmentation", "_gt", "-mask", " mask")


@dataclass(frozen=True)
class FoundImage:
    """An image on disk, not loaded.

    Attributes:
        image: image file.
        category: product.
        kind: defect type, ``"good"`` for a normal image.
        train: whether it belongs to the training split.
        mask: mask file; None for a normal image, or if there is none.
    """

    image: Path
    category: str
    kind: str = GOOD
    train: bool = False
    mask: Path | None = None

    @property
    def anomalous(self) -> bool:
        """Whether the image is anomalous."""
        return self.kind != GOOD


def is_normal(folder: str) -> bool:
    """Whether a folder of this name contains normal images."""
    return folder.lower() in NORMAL_NAMES


def images_in(folder: Path) -> list[Path]:
    """Image files directly in a folder, in natural order; empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted(image_files(folder.iterdir()), key=lambda path: natural_key(path.name))


def folders_in(folder: Path) -> list[Path]:
    """Subfolders in natural order, except hidden ones; empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    inner = [path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._"]
    return sorted(inner, key=lambda path: natural_key(path.name))


def child(folder: Path, *names: str) -> Path | None:
    """The first existing folder, ignoring case and treating underscores as spaces."""
    have = {_plain(path.name): path for path in folders_in(folder)}
    return next((have[_plain(name)] for name in names if _plain(name) in have), None)


def _plain(name: str) -> str:
    return name.casefold().replace(" ", "_")


def pair_masks(images: Sequence[Path], masks: Iterable[Path]) -> dict[Path, Path]:
    """Masks by stem of their image: ``003_mask.png`` and ``003.png`` belong to ``003.jpg``.

    Raises:
        LayoutError: an image has two masks.
    """
    by_stem: dict[str, Path] = {}
    for mask in masks:
        stem = mask.stem.casefold()
        if stem in by_stem:
            raise LayoutError(f"two masks have the name {mask.stem!r}: {by_stem[stem]} and {mask}; remove one")
        by_stem[stem] = mask
    found = {}
    for image in images:
        stem = image.stem.casefold()
        mask = next((by_stem[stem + ending] for ending in _MASK_ENDINGS if stem + ending in by_stem), None)
        if mask is not None:
            found[image] = mask
    return found


def with_masks(found: Iterable[FoundImage], folders: Iterable[Path]) -> list[FoundImage]:
    """Assigns masks from folders to images; normal images get none."""
    found = list(found)
    masks = [mask for folder in folders for mask in images_in(folder)]
    pairs = pair_masks([item.image for item in found if item.anomalous], masks)
    return [replace(item, mask=pairs.get(item.image)) if item.anomalous else item for item in found]


def warn_of_omissions(kind: Path, found: Sequence[FoundImage], masks: Path | None) -> None:
    """Warns of what a folder holds and the test leaves out.

    Args:
        kind: folder of the images.
        found: its images with their masks.
        masks: folder of their masks, if there is one.
    """
    used = {item.mask for item in found}
    unpaired = [path for path in images_in(masks) if path not in used] if masks else []
    nested = [path for inner in folders_in(kind) for path in image_files(inner.rglob("*"))]
    without = [item.image for item in found if item.anomalous and item.mask is None] if used != {None} else []
    for files, what in (
        (unpaired, "masks have no image of their name and are left out"),
        (nested, "images in subfolders are left out"),
        (without, "images have no mask and count for the image scores only"),
    ):
        if files:
            warnings.warn(f"{kind}: {len(files)} {what}, such as {files[0].name}", stacklevel=2)


def need_masks(found: Sequence[FoundImage], root: Path) -> Sequence[FoundImage]:
    """Checks that every anomalous image has a mask.

    Raises:
        LayoutError: masks are missing.
    """
    without = [item.image for item in found if item.anomalous and item.mask is None]
    if without:
        shown = ", ".join(path.relative_to(root).as_posix() for path in without[:3])
        raise LayoutError(
            f"{root}: {len(without)} anomalous images have no mask: {shown}{', ...' if len(without) > 3 else ''}; "
            "a mask must have the name of its image, with or without _mask"
        )
    return found


def scan_splits(folder: Path, category: str, masks: bool = True) -> list[FoundImage]:
    """A category in MVTec AD's layout: ``train/good``, ``test/TYPE``, ``ground_truth/TYPE``.

    Args:
        folder: folder of the category.
        category: its name.
        masks: whether anomalous images must have masks.

    Raises:
        LayoutError: there are no test images, or masks are missing.
    """
    tests, truth = child(folder, "test"), child(folder, "ground_truth", "masks", "groundtruth")
    found: list[FoundImage] = []
    for kind in folders_in(tests) if tests else []:
        name = GOOD if is_normal(kind.name) else kind.name
        here = [FoundImage(path, category, name) for path in images_in(kind)]
        inner = child(truth, kind.name) if truth else None
        found += with_masks(here, [inner] if inner else [])
    if not found:
        raise LayoutError(f"{folder}: expected test/good and test/TYPE with images, found {contents_of(folder)}")
    if masks:
        need_masks(found, folder)
    train = child(folder, "train")
    normal = [path for kind in folders_in(train) if is_normal(kind.name) for path in images_in(kind)] if train else []
    return [*(FoundImage(path, category, train=True) for path in normal), *found]


def scan_kinds(
    folder: Path, category: str, normal: Iterable[str] = NORMAL_NAMES, mask_folders: Iterable[Path] = ()
) -> list[FoundImage]:
    """Test images in one folder per class, such as ``yes`` and ``no``.

    Args:
        folder: parent folder; images may also be in a subfolder ``images``.
        category: product.
        normal: names of folders with normal images, in lower case.
        mask_folders: mask folders, which are not classes.
    """
    mask_folders, normal = list(mask_folders), {name.lower() for name in normal}
    found = []
    for kind in folders_in(folder):
        if kind not in mask_folders:
            name = GOOD if kind.name.lower() in normal else kind.name
            found += [FoundImage(path, category, name) for path in images_in(child(kind, "images") or kind)]
    return with_masks(found, mask_folders)


def relative_name(path: Path, root: Path) -> str:
    """Name of an image: its path relative to the root, without suffix."""
    return path.relative_to(root).with_suffix("").as_posix()


def by_category(found: Iterable[FoundImage]) -> Mapping[str, list[FoundImage]]:
    """Groups images by category, in order of appearance."""
    groups: dict[str, list[FoundImage]] = {}
    for item in found:
        groups.setdefault(item.category, []).append(item)
    return groups
