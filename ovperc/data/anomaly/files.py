"""Anomaly data sets on disk, read in their published layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ovperc.core.errors import ImageError
from ovperc.core.naming import suggest
from ovperc.data.anomaly.layouts import AnomalyLayout, mask_of
from ovperc.data.anomaly.records import AnomalyRecord, AnomalySample
from ovperc.data.anomaly.scanning import FoundImage, by_category, relative_name
from ovperc.data.benchmark import Source
from ovperc.data.layout import LayoutError, resolve_root
from ovperc.io.images import read_image


class AnomalyFiles:
    """An anomaly data set on disk.

    Args:
        source: location and layout of the files.
        root: folder of the data set, or of all data sets; ``None`` uses ``$OVPERC_DATA``.
        partial: accept a copy with missing categories.
        categories: categories to read; None for all expected ones or, if the layout lists none, all found.
        words: category -> object name, overriding the default.
        mask_above: mask values above it are anomalous; 0 as published. Use 127 for JPEG masks, which have noisy
            edges.
        hold_out: number of normal test images per category to use for training instead, in categories without
            training images.
        seed: seed of that selection.
        upright: turn images by their EXIF tag, as programs that draw masks show them; None does as the layout says.

    Attributes:
        categories, words, records: see ``AnomalyImages``.
        complete: whether all categories of the set were read.

    Raises:
        LayoutError: the data is missing or incomplete; the message names what was expected where.
    """

    def __init__(
        self,
        source: Source,
        root: str | Path | None,
        partial: bool = False,
        categories: Sequence[str] | None = None,
        words: Mapping[str, str] | None = None,
        mask_above: int = 0,
        hold_out: int = 0,
        seed: int = 0,
        upright: bool | None = None,
    ) -> None:
        layout: AnomalyLayout = source.layout
        self.upright = layout.upright if upright is None else upright
        self.root = resolve_root(root, *source.folders)
        if not self.root.is_dir():
            raise LayoutError(f"{self.root}: no such folder; pass the folder of the data set with --data-root")
        self.mask_above = mask_above
        groups = by_category(layout.scan(self.root))
        self.categories = _chosen(layout, groups, categories, partial, self.root)
        self.complete = set(layout.categories or groups) <= set(self.categories)
        given = {**layout.words, **(words or {})}
        self.words = {name: given.get(name, name.replace("_", " ")) for name in self.categories}
        self._train: dict[str, list[Path]] = {}
        self._test: list[FoundImage] = []
        for name in self.categories:
            train, test = _split(groups[name], hold_out, seed, name)
            self._train[name] = train
            self._test += test
        self.records = tuple(
            AnomalyRecord(relative_name(item.image, self.root), item.category, item.kind, item.anomalous)
            if item.image.is_relative_to(self.root)
            else AnomalyRecord(
                f"{item.category}/{item.kind}/{item.image.stem}", item.category, item.kind, item.anomalous
            )
            for item in self._test
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> AnomalySample:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} images")
        found = self._test[index]
        image = read_image(found.image, self.upright)
        if not found.anomalous:
            return AnomalySample(
                image, np.zeros(image.shape[:2], bool) if self._has_masks else None, self.records[index]
            )
        if found.mask is None:
            return AnomalySample(image, None, self.records[index])
        mask = mask_of(found.mask, self.mask_above)
        if mask.shape != image.shape[:2]:
            turned = mask.shape == image.shape[1::-1]
            hint = f"; turned by its EXIF tag? Try --set data.upright={not self.upright}" if turned else ""
            raise ImageError(
                f"{found.mask}: the mask is {mask.shape[1]} x {mask.shape[0]}, its image {found.image.name} "
                f"{image.shape[1]} x {image.shape[0]}; the sizes must be equal{hint}"
            )
        return AnomalySample(image, mask, self.records[index])

    @property
    def _has_masks(self) -> bool:
        """Whether pixel metrics can be computed."""
        return any(item.mask is not None for item in self._test)

    def num_normal(self, category: str) -> int:
        """Number of normal training images of a category."""
        return len(self._train[category])

    def normal_image(self, category: str, index: int) -> np.ndarray:
        """A normal training image, ``(H, W, 3)`` uint8 RGB."""
        return read_image(self._train[category][index], self.upright)


def _chosen(
    layout: AnomalyLayout,
    groups: Mapping[str, list[FoundImage]],
    asked: Sequence[str] | None,
    partial: bool,
    root: Path,
) -> tuple[str, ...]:
    """Categories to read, checked to exist."""
    known = layout.categories or tuple(groups)
    wanted = known if asked is None else tuple(asked)
    strange = [name for name in wanted if name not in known and name not in groups]
    if strange:
        raise ValueError(f"unknown category {strange[0]!r}; {suggest(strange[0], known)}")
    missing = [name for name in wanted if name not in groups]
    if missing and (not partial or len(missing) == len(wanted)):
        raise LayoutError(
            f"{root}: categories {', '.join(missing)} are missing (found: "
            f"{', '.join(sorted(groups)) or 'none'}); --allow-partial evaluates the rest"
        )
    return tuple(name for name in wanted if name in groups)


def _split(found: Sequence[FoundImage], hold_out: int, seed: int, category: str) -> tuple[list[Path], list[FoundImage]]:
    """Training files and test images of a category."""
    train = [item.image for item in found if item.train]
    test = [item for item in found if not item.train]
    good = [item for item in test if not item.anomalous]
    if not test:
        raise LayoutError(f"category {category!r} has no test images")
    if train or not hold_out:
        return train, test
    if hold_out >= len(good):
        raise LayoutError(
            f"hold_out={hold_out} normal images of {category!r} are requested, but some must remain for testing; "
            f"there are {len(good)}"
        )
    order = np.random.default_rng((seed, *category.encode())).permutation(len(good))[:hold_out]
    taken = [good[int(place)] for place in order]
    return [item.image for item in taken], [item for item in test if item not in taken]
