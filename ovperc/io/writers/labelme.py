"""LabelMe format: one JSON file per image, for manual correction in LabelMe or X-AnyLabeling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.io.ownership import FORMAT_PREFIX
from ovperc.io.writers.base import Draw, Writer

if TYPE_CHECKING:
    from ovperc.io.annotations import Annotation, ImageAnnotations

_VERSION = "5.5.0"


def labelme_document(annotations: ImageAnnotations) -> dict[str, Any]:
    """LabelMe document of an image; polygons of one object share a ``group_id``, and holes are dropped."""
    height, width = annotations.size_hw
    return {
        "version": _VERSION,
        "ovperc": {"format": f"{FORMAT_PREFIX}labelme-1"},
        "flags": {},
        "shapes": [
            shape
            for number, entry in enumerate(annotations.objects)
            for shape in _shapes(entry, number, annotations.names[entry.label])
        ],
        "imagePath": annotations.source,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


class LabelMeWriter(Writer):
    """``STEM_labelme.json``."""

    def image_files(self, stem: str) -> tuple[str, ...]:
        """The document."""
        return (f"{stem}_labelme.json",)

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Writes the document."""
        (name,) = self.image_files(stem)
        document = labelme_document(prediction.annotations())
        (folder / name).write_text(json.dumps(document), encoding="utf-8")


def _shapes(entry: Annotation, group: int, name: str) -> list[dict[str, Any]]:
    common = {"label": name, "group_id": group, "description": f"score {entry.score:.4f}", "flags": {}}
    outlines = entry.outlines()
    if not outlines:
        left, top, right, bottom = entry.box_xyxy
        return [{**common, "points": [[left, top], [right, bottom]], "shape_type": "rectangle"}]
    return [{**common, "points": outline.astype(float).tolist(), "shape_type": "polygon"} for outline in outlines]
