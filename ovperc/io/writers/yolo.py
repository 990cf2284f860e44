"""YOLO format: ``labels/STEM.txt`` with one line per object, and ``data.yaml`` with the class names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.io.ownership import FORMAT_PREFIX
from ovperc.io.writers.base import Draw, OutputSettings, Writer

if TYPE_CHECKING:
    from ovperc.io.annotations import Annotation, ImageAnnotations

_MARK = f"# {FORMAT_PREFIX}yolo-1"
_DIGITS = 6


def yolo_lines(annotations: ImageAnnotations, outlines: bool) -> Iterator[str]:
    """Lines of an image: the label, then coordinates as fractions of width and height.

    Args:
        annotations: objects of the image.
        outlines: write polygons, ``label x y x y ...`` per mask component (the box if it has no contour); otherwise
            ``label x_centre y_centre width height``.
    """
    height, width = annotations.size_hw
    for entry in annotations.objects:
        for points in _polygons(entry) if outlines else [_centre_and_size(entry)]:
            shares = [value / (height if index % 2 else width) for index, value in enumerate(points)]
            yield " ".join([str(entry.label), *(f"{share:.{_DIGITS}f}" for share in shares)])


class YoloWriter(Writer):
    """Boxes, for training detectors.

    Label files are recognised as ovperc's by the mark in ``data.yaml``.
    """

    outlines = False
    run_files = ("data.yaml",)

    def __init__(self, settings: OutputSettings) -> None:
        super().__init__(settings)
        self._names: tuple[str, ...] = ()

    def image_files(self, stem: str) -> tuple[str, ...]:
        """The label file."""
        return (f"labels/{stem}.txt",)

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Writes the label file, empty for an image without objects, as is YOLO's convention."""
        file = folder / self.image_files(stem)[0]
        file.parent.mkdir(exist_ok=True)
        lines = yolo_lines(prediction.annotations(), self.outlines)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def record(self, source: str, prediction: Any) -> None:
        """Takes the names."""
        self._names = prediction.annotations().names

    def finish(self, folder: Path) -> None:
        """Writes ``data.yaml``."""
        names = [f"  {label}: {json.dumps(name)}" for label, name in enumerate(self._names)]
        text = "\n".join([_MARK, "path: .", "train: images", "val: images", "names:" if names else "names: {}", *names])
        (folder / self.run_files[0]).write_text(text + "\n", encoding="utf-8")


class YoloOutlineWriter(YoloWriter):
    """Polygons, for training segmentation models."""

    outlines = True


def _polygons(entry: Annotation) -> list[list[float]]:
    left, top, right, bottom = entry.box_xyxy
    corners = [left, top, right, top, right, bottom, left, bottom]
    return [outline.ravel().tolist() for outline in entry.outlines()] or [corners]


def _centre_and_size(entry: Annotation) -> list[float]:
    left, top, right, bottom = entry.box_xyxy
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
