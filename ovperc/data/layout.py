"""Layout of data sets on disk, and checks for completeness."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ovperc.core.checksum import lines_sha256
from ovperc.core.naming import suggest

ROOT_VARIABLE = "OVPERC_DATA"


class LayoutError(ValueError):
    """A folder does not contain the expected data set."""


@dataclass(frozen=True)
class Sample:
    """An image file with its annotation file.

    Attributes:
        name: path relative to the image folder, without suffix, such as ``"frankfurt/frankfurt_000000_000294"``.
        image, annotation: files.
    """

    name: str
    image: Path
    annotation: Path


@dataclass(frozen=True)
class Layout:
    """Locations of the images and annotations of a split, relative to the data set's root.

    If there are several candidates, the first existing one is used.

    Attributes:
        images, annotations: folders; ``{split}`` is replaced by the name of the split.
        image_suffix, annotation_suffix: suffixes after a sample's name.
        lists: files that list the samples of the split; by default all files of the folder.
        count: number of samples in the full split.
        names_sha256: digest of the split's sorted file names, see :func:`names_digest`; empty if unknown.
        splits: available splits, the reported one first; empty for a layout of a single split.
        annotated_only: list the annotation folder instead: images without annotation are not part of the split.
    """

    images: tuple[str, ...]
    annotations: tuple[str, ...]
    image_suffix: str
    annotation_suffix: str
    count: int
    lists: tuple[str, ...] = ()
    names_sha256: str = ""
    splits: tuple[str, ...] = ()
    annotated_only: bool = False

    def of_split(self, name: str = "") -> Layout:
        """The layout of a split, by default of the reported one.

        Raises:
            ValueError: there is no such split; the message suggests close matches.
        """
        if not (name or self.splits):
            return self
        name = name or self.splits[0]
        if name not in self.splits:
            raise ValueError(f"unknown split {name!r}; {suggest(name, self.splits)}")
        images, annotations = (
            tuple(place.format(split=name) for place in places) for places in (self.images, self.annotations)
        )
        return replace(self, images=images, annotations=annotations, splits=())

    def image_folder(self, root: Path) -> Path:
        """The folder of images below ``root``."""
        return _first(root, self.images) or root / self.images[0]

    def annotation_folder(self, root: Path) -> Path:
        """The folder of annotations below ``root``."""
        return _first(root, self.annotations) or root / self.annotations[0]

    def list_file(self, root: Path) -> Path | None:
        """The file that lists the samples, if it exists."""
        return _first(root, self.lists)

    def names(self, root: Path) -> tuple[str, ...]:
        """Sorted names of the split's samples.

        Raises:
            LayoutError: the list file or the image folder is missing or empty.
        """
        suffix = self.image_suffix
        if self.lists:
            listing = self.list_file(root)
            if listing is None:
                raise LayoutError(f"{root}: expected {' or '.join(self.lists)}, found {contents_of(root)}")
            lines = listing.read_text(encoding="utf-8-sig").splitlines()
            names = [relative_name(line.strip(), f"{listing}: a name") for line in lines if line.strip()]
            where = listing
        else:
            where = self.image_folder(root)
            if self.annotated_only:
                where, suffix = self.annotation_folder(root), self.annotation_suffix
            found = where.rglob(f"*{suffix}") if where.is_dir() else ()
            names = [path.relative_to(where).as_posix().removesuffix(suffix) for path in found]
        if not names:
            raise LayoutError(f"{where}: expected {self.count} samples *{suffix}, found none")
        return tuple(sorted(names))

    def sample(self, root: Path, name: str) -> Sample:
        """The files of a sample."""
        image = self.image_folder(root) / f"{name}{self.image_suffix}"
        return Sample(name, image, self.annotation_folder(root) / f"{name}{self.annotation_suffix}")

    def samples(self, root: Path) -> tuple[Sample, ...]:
        """All samples of the split in order of name, including missing ones."""
        return tuple(self.sample(root, name) for name in self.names(root))


@dataclass(frozen=True)
class LayoutReport:
    """Result of checking the files of a split.

    Attributes:
        root: the checked folder.
        expected: number of samples in the full split.
        named: number of samples in the list or image folder.
        found: number of samples with both files.
        missing_images, missing_annotations: missing files of named samples.
        names_match: whether the names match the official split; ``None`` if their digest is unknown.
    """

    root: Path
    expected: int
    named: int
    found: int
    missing_images: tuple[Path, ...]
    missing_annotations: tuple[Path, ...]
    names_match: bool | None

    @property
    def complete(self) -> bool:
        """Whether the official split is complete."""
        return self.found == self.expected and self.names_match is not False

    def problems(self) -> tuple[str, ...]:
        """Descriptions of all problems."""
        found = []
        for kind, missing in (("images", self.missing_images), ("annotations", self.missing_annotations)):
            if missing:
                found.append(f"{len(missing)} {kind} are missing: {_some(missing, self.root)}")
        if self.named != self.expected:
            found.append(
                f"expected {self.expected} samples, found {self.named}: the copy is incomplete or another split"
            )
        elif self.names_match is False:
            found.append("the file names do not match the official split (same count, different digest)")
        return tuple(found)


def check_layout(layout: Layout, root: Path) -> LayoutReport:
    """Compares the files below ``root`` with a layout, without reading images.

    Raises:
        LayoutError: the data set was not found.
    """
    if not root.is_dir():
        raise LayoutError(f"{root}: no such folder; pass the folder that contains {layout.images[0]}")
    if _first(root, layout.images) is None:
        raise LayoutError(
            f"{root}: expected a folder {' or '.join(layout.images)}, found {contents_of(root)}; "
            "pass the folder that contains it"
        )
    samples = layout.samples(root)
    there = _existing_files(layout.image_folder(root)) | _existing_files(layout.annotation_folder(root))
    images = tuple(sample.image for sample in samples if sample.image not in there)
    annotations = tuple(sample.annotation for sample in samples if sample.annotation not in there)
    whole = sum(sample.image in there and sample.annotation in there for sample in samples)
    digest = names_digest(sample.name for sample in samples) if layout.names_sha256 else ""
    match = digest == layout.names_sha256 if layout.names_sha256 else None
    return LayoutReport(root, layout.count, len(samples), whole, images, annotations, match)


def names_digest(names: Iterable[str]) -> str:
    """SHA-256 of the sorted base names, one per line."""
    return lines_sha256(sorted(PurePosixPath(name).name for name in names))


def resolve_root(given: str | Path | None, *folders: str) -> Path:
    """Finds the root of a data set.

    Args:
        given: root of the data set, or a folder of data sets; ``None`` uses the environment variable
            ``OVPERC_DATA``.
        *folders: possible names of the data set within such a folder, such as ``"VOCdevkit/VOC2012"``.

    Raises:
        LayoutError: neither a root nor the variable is set.
    """
    given = given or os.environ.get(ROOT_VARIABLE)
    if not given:
        wanted = f"where is {folders[0]}? " if folders else ""
        raise LayoutError(f"{wanted}pass --data-root, or set {ROOT_VARIABLE} to the folder of your data sets")
    root = Path(given).expanduser()
    parts = [PurePosixPath(folder).parts for folder in folders]
    inner = [root.joinpath(*names[skip:]) for names in parts for skip in range(len(names))]
    return next((path for path in inner if path.is_dir()), root)


def _first(root: Path, places: tuple[str, ...]) -> Path | None:
    return next((root / place for place in places if (root / place).exists()), None)


def _existing_files(folder: Path) -> set[Path]:
    """All files below a folder in a single walk, as checking each by name takes minutes on network disks."""
    return {Path(base, name) for base, _, files in os.walk(folder, followlinks=True) for name in files}


def relative_name(name: Any, where: str) -> str:
    """A file name of a data set's listing, with forward slashes; never one that leads out of the set's folder.

    Args:
        name: as the listing has it, with slashes of either system.
        where: listing and field, for the message.

    Raises:
        LayoutError: not a name, absolute, or with ``..`` in it.
    """
    if not isinstance(name, str) or not name.strip("./\\") or "\0" in name:
        raise LayoutError(f"{where} must be a file name; got {name!r}")
    path = PureWindowsPath(name)
    if path.drive or path.root or ".." in path.parts:
        shown = name if len(name) <= 200 else f"{name[:200]}..."
        raise LayoutError(f"{where} must stay inside the data set's folder; got {shown!r}: write it relative to that")
    return path.as_posix()


def contents_of(root: Path, limit: int = 8) -> str:
    """The first names in a folder, for messages."""
    names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    if not names:
        return "nothing"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _some(paths: tuple[Path, ...], root: Path, limit: int = 5) -> str:
    shown = ", ".join(path.relative_to(root).as_posix() for path in paths[:limit])
    return shown + (f" and {len(paths) - limit} more" if len(paths) > limit else "")
