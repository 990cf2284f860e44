"""Images and label maps on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from ovperc.data.annotations import read_annotation
from ovperc.data.benchmark import Source
from ovperc.data.label_map import load_label_map
from ovperc.data.layout import LayoutError, check_layout, resolve_root
from ovperc.data.prepare.conversion import conversion_state
from ovperc.io.images import read_image
from ovperc.text.class_names import load_class_names


@dataclass(frozen=True)
class FileSample:
    """An annotated image of a benchmark.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` uint8 or uint16.
        name: path relative to the image folder, without suffix.
    """

    image: np.ndarray
    labels: np.ndarray
    name: str


class SegmentationFiles(Dataset):
    """A benchmark's images in order of name.

    Args:
        source: location of the files.
        groups: subset name -> labels, evaluated separately.
        label_map: name of the mapping from raw values to labels.
        class_list: name of the class list.
        root: folder of the data set, or of all data sets; ``None`` uses ``$OVPERC_DATA``.
        partial: evaluate an incomplete copy instead of raising.
        split: split of the layout; by default the reported one.

    Attributes:
        classes: label -> name.
        complete: whether the split is complete.

    Raises:
        LayoutError: the root is wrong, files are missing, or a conversion is unfinished.
    """

    def __init__(
        self,
        source: Source,
        groups: Mapping[str, Sequence[int]],
        *,
        label_map: str,
        class_list: str,
        root: str | Path | None,
        partial: bool,
        split: str = "",
    ) -> None:
        self.groups = dict(groups)
        self.classes = load_class_names(class_list).labels
        self.label_map = load_label_map(label_map)
        if self.label_map.num_labels != len(self.classes):
            raise LayoutError(
                f"class list {class_list!r} names {len(self.classes)} labels, label map {label_map!r} has "
                f"{self.label_map.num_labels}: the numbers must be equal"
            )
        self.root = resolve_root(root, *source.folders)
        if source.conversion and conversion_state(self.root, source.conversion) == "unfinished":
            raise LayoutError(f"{self.root}: its conversion is unfinished; run 'ovperc prepare' again to continue")
        layout = source.layout.of_split(split)
        report = check_layout(layout, self.root)
        self.complete = report.complete
        if report.problems() and not partial:
            raise LayoutError(
                f"{self.root}: {'; '.join(report.problems())}. 'ovperc prepare --check' lists what is missing; "
                "--allow-partial evaluates the rest"
            )
        missing = set(report.missing_images) | set(report.missing_annotations)
        self._samples = [
            sample for sample in layout.samples(self.root) if not missing & {sample.image, sample.annotation}
        ]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> FileSample:
        sample = self._samples[index]
        labels = self.label_map.apply(read_annotation(sample.annotation), sample.annotation)
        return FileSample(read_image(sample.image, upright=False), labels, sample.name)
