"""The benchmarks' files as labelled images, listed by mmsegmentation's datasets.

Importing this module imports mmseg: call ``ovperc.training.compat.prepare_mmseg`` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import mmseg.datasets
import numpy as np
from mmseg.datasets import BaseSegDataset
from torch.utils.data import Dataset

from ovperc.data.annotations import read_annotation
from ovperc.data.label_map import load_label_map
from ovperc.data.layout import Layout, LayoutError, check_layout, resolve_root
from ovperc.data.prepare.conversion import conversion_state
from ovperc.data.sources import Source, get_source
from ovperc.io.images import read_stored_image
from ovperc.registry import DATASETS
from ovperc.text.class_names import load_class_names


@DATASETS.register_module()
class PascalVOC20Dataset(BaseSegDataset):
    """PASCAL VOC without its background, which mmseg's dataset evaluates."""

    METAINFO: ClassVar[dict[str, Any]] = {"classes": load_class_names("voc20").labels}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"img_suffix": ".jpg", "seg_map_suffix": ".png", "reduce_zero_label": True, **settings})


@DATASETS.register_module()
class COCOObjectDataset(BaseSegDataset):
    """COCO-Object: background and 80 things, in ``*_instanceTrainIds.png``."""

    METAINFO: ClassVar[dict[str, Any]] = {"classes": load_class_names("coco_object").labels}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"img_suffix": ".jpg", "seg_map_suffix": "_instanceTrainIds.png", **settings})


@DATASETS.register_module()
class ADE847Dataset(BaseSegDataset):
    """ADE20K full with 847 classes; 16-bit labels, which mmseg's loader cuts to 8."""

    METAINFO: ClassVar[dict[str, Any]] = {"classes": load_class_names("ade847").labels}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"img_suffix": ".jpg", "seg_map_suffix": ".tif", "ignore_index": 65535, **settings})


@DATASETS.register_module()
class PascalContext459Dataset(BaseSegDataset):
    """PASCAL Context with 459 classes; 16-bit labels."""

    METAINFO: ClassVar[dict[str, Any]] = {"classes": load_class_names("pc459").labels}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"img_suffix": ".jpg", "seg_map_suffix": ".tif", "ignore_index": 65535, **settings})


@dataclass(frozen=True)
class FileSample:
    """An annotated image of a benchmark.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` uint8 or uint16.
        name: path below the image folder, without suffix.
    """

    image: np.ndarray
    labels: np.ndarray
    name: str


class BenchmarkFiles(Dataset):
    """A benchmark's images in order of name, with labels as they are evaluated.

    Args:
        source: where the files lie.
        reader: name of mmseg's dataset, or of one above.
        label_map: from the files' numbers to labels.
        class_list: labels.
        root: the data set's folder, or the folder of all data sets; ``None`` takes ``$OVPERC_DATA``.
        partial: score what is there of an incomplete copy instead of refusing it.

    Attributes:
        classes: label -> name.
        complete: whether the whole split is there.

    Raises:
        LayoutError: wrong root, files are missing, or a conversion is not done.
    """

    def __init__(
        self, source: Source, reader: str, label_map: str, class_list: str, root: str | Path | None, partial: bool
    ) -> None:
        self.classes = load_class_names(class_list).labels
        self.label_map = load_label_map(label_map)
        if self.label_map.num_labels != len(self.classes):
            raise LayoutError(
                f"class list {class_list!r} names {len(self.classes)} labels, label map {label_map!r} has "
                f"{self.label_map.num_labels}: they must be of one length"
            )
        self.root = resolve_root(root, source.folder)
        _refuse_unfinished(source, self.root)
        report = check_layout(source.layout, self.root)
        self.complete = report.complete
        if report.problems() and not partial:
            raise LayoutError(
                f"{self.root}: {'; '.join(report.problems())}. tools/prepare_data.py --check lists what is missing; "
                "--allow-partial scores what is there"
            )
        missing = set(report.missing_images) | set(report.missing_annotations)
        folder = source.layout.image_folder(self.root)
        self._files = [
            (_name(image, folder, source.layout), image, annotation)
            for image, annotation in list_files(source.layout, reader, self.root)
            if image not in missing and annotation not in missing
        ]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> FileSample:
        name, image, annotation = self._files[index]
        return FileSample(read_stored_image(image), self.label_map.apply(read_annotation(annotation), annotation), name)


def list_files(layout: Layout, reader: str, root: Path) -> list[tuple[Path, Path]]:
    """Images with their annotations as a dataset of mmseg lists them, in order of path."""
    kind = DATASETS.get(reader) or getattr(mmseg.datasets, reader)
    listing = layout.list_file(root)
    dataset = kind(
        data_root=None,
        data_prefix={"img_path": str(layout.image_folder(root)), "seg_map_path": str(layout.annotation_folder(root))},
        img_suffix=layout.image_suffix,
        seg_map_suffix=layout.annotation_suffix,
        pipeline=[],
        **({"ann_file": str(listing)} if listing else {}),
    )
    entries = (dataset.get_data_info(index) for index in range(len(dataset)))
    return sorted((Path(entry["img_path"]), Path(entry["seg_map_path"])) for entry in entries)


def open_benchmark(
    source: str, reader: str, label_map: str, class_list: str, root: str | Path | None, partial: bool
) -> BenchmarkFiles:
    """A benchmark's files by the names in its row; arguments as for :class:`BenchmarkFiles`."""
    return BenchmarkFiles(get_source(source), reader, label_map, class_list, root, partial)


def _refuse_unfinished(source: Source, root: Path) -> None:
    if source.conversion and conversion_state(root, source.conversion) == "unfinished":
        raise LayoutError(
            f"{root}: the conversion of {source.title} is not finished; run tools/prepare_data.py again, "
            "it goes on where it stopped"
        )


def _name(image: Path, folder: Path, layout: Layout) -> str:
    return image.relative_to(folder).as_posix().removesuffix(layout.image_suffix)
