"""COCO panoptic format: one JSON file per run and a PNG of segment ids per image, readable by panopticapi."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ovperc.io.ownership import FORMAT_PREFIX
from ovperc.io.writers.base import Draw, OutputSettings, Writer

INFO = {"format": f"{FORMAT_PREFIX}coco-panoptic-1"}
_FOLDER = "panoptic"


class CocoPanopticWriter(Writer):
    """Writes ``panoptic.json`` and ``panoptic/STEM.png``; category ids are labels."""

    run_files = ("panoptic.json",)

    def __init__(self, settings: OutputSettings) -> None:
        super().__init__(settings)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories: list[Any] = []
        self._file_name = ""

    def image_files(self, stem: str) -> tuple[str, ...]:
        """The PNG."""
        return (f"{_FOLDER}/{stem}.png",)

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Writes the PNG."""
        from ovperc.io.panoptic import write_ids

        (name,) = self.image_files(stem)
        (folder / _FOLDER).mkdir(exist_ok=True)
        write_ids(folder / name, prediction.ids)
        self._file_name = Path(name).name

    def record(self, source: str, prediction: Any) -> None:
        """Adds the image and its segments."""
        from ovperc.io.panoptic import panoptic_categories, segments_info

        height, width = prediction.size_hw
        image_id = len(self._images) + 1
        self._categories = panoptic_categories(prediction.names, prediction.things)
        self._images.append({"id": image_id, "file_name": source, "width": width, "height": height})
        self._annotations.append(
            {"image_id": image_id, "file_name": self._file_name, "segments_info": segments_info(prediction.panoptic)}
        )

    def finish(self, folder: Path) -> None:
        """Writes the document."""
        document = {
            "info": INFO,
            "images": self._images,
            "annotations": self._annotations,
            "categories": self._categories,
        }
        (folder / self.run_files[0]).write_text(json.dumps(document), encoding="utf-8")
