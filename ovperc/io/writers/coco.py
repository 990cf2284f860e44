"""COCO format: one JSON file per run with boxes and RLE masks, readable by pycocotools and annotation tools."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.io.ownership import FORMAT_PREFIX
from ovperc.io.writers.base import OutputSettings, Writer

if TYPE_CHECKING:
    from ovperc.io.annotations import Annotation, ImageAnnotations

INFO = {"format": f"{FORMAT_PREFIX}coco-1"}


def coco_document(annotations: ImageAnnotations) -> dict[str, Any]:
    """A COCO document of one image (id 1), with labels as category ids and annotation ids from 1."""
    return {
        "info": INFO,
        "images": [_image(1, annotations)],
        "categories": _categories(annotations.names),
        "annotations": list(_annotations(1, 1, annotations)),
    }


class CocoWriter(Writer):
    """Writes ``coco.json``; annotations are buffered in a temporary file, so memory does not grow with the run."""

    run_files = ("coco.json",)

    def __init__(self, settings: OutputSettings) -> None:
        super().__init__(settings)
        self._images: list[dict[str, Any]] = []
        self._names: tuple[str, ...] = ()
        self._rows = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed in finish)
        self._num_rows = 0

    def record(self, source: str, prediction: Any) -> None:
        """Adds the image and its annotations."""
        annotations = prediction.annotations()
        self._names = annotations.names
        self._images.append(_image(len(self._images) + 1, annotations))
        for row in _annotations(len(self._images), self._num_rows + 1, annotations):
            self._rows.write(f"{',' if self._num_rows else ''}\n{json.dumps(row)}")
            self._num_rows += 1

    def finish(self, folder: Path) -> None:
        """Writes the document."""
        head = {"info": INFO, "images": self._images, "categories": _categories(self._names)}
        self._rows.seek(0)
        with (folder / self.run_files[0]).open("w", encoding="utf-8") as file:
            file.write(json.dumps(head)[:-1] + ', "annotations": [')
            file.writelines(self._rows)
            file.write("\n]}\n")
        self._rows.close()


def _image(image_id: int, annotations: ImageAnnotations) -> dict[str, Any]:
    height, width = annotations.size_hw
    return {"id": image_id, "file_name": annotations.source, "width": width, "height": height}


def _categories(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"id": label, "name": name} for label, name in enumerate(names)]


def _annotations(image_id: int, first_id: int, annotations: ImageAnnotations) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(annotations.objects):
        yield {
            "id": first_id + number,
            "image_id": image_id,
            "category_id": entry.label,
            "bbox": _xywh(entry),
            "area": entry.area_px,
            "iscrowd": 0,
            "score": entry.score,
            **({} if entry.mask is None else {"segmentation": dict(entry.mask)}),
        }


def _xywh(entry: Annotation) -> list[float]:
    left, top, right, bottom = entry.box_xyxy
    return [left, top, right - left, bottom - top]
