"""Captioned images, for training CLIM and FILIP."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, RandomResizedCrop

from ovperc.data.layout import LayoutError
from ovperc.io.image_sources import list_images
from ovperc.io.images import read_image
from ovperc.registry import DATASETS


@DATASETS.register_module()
class CaptionPictures(Dataset):
    """Random square crops of images, each with one of its captions if available.

    Draws from the global generators of Python, numpy and torch: wrap it in ``SeededDataset``.

    Args:
        root: image folder.
        annotations: JSON ``{"images": [{"id", "file_name", "captions": [...]}]}``, or COCO's caption file. By
            default all images of the folder, without captions.
        size_px: side of a crop.
        scale: minimum and maximum fraction of the image's area.

    Raises:
        LayoutError: a file is missing, or an image has no caption.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str | Path | None = None,
        size_px: int = 224,
        scale: tuple[float, float] = (0.9, 1.0),
    ) -> None:
        self.root = Path(root)
        self.rows = _listed(self.root) if annotations is None else _read(Path(annotations))
        self._view = RandomResizedCrop(size_px, scale, interpolation=InterpolationMode.BICUBIC, antialias=True)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, captions = self.rows[index]
        pixels = torch.from_numpy(read_image(self.root / name).copy()).permute(2, 0, 1)
        item = {"image": self._view(pixels), "seed": int(np.random.randint(2**31))}  # noqa: NPY002 (seeded outside)
        return {**item, "text": random.choice(captions)} if captions else item


def _listed(folder: Path) -> list[tuple[str, list[str]]]:
    files = list_images(folder, recursive=True) if folder.is_dir() else []
    if not files:
        raise LayoutError(f"{folder}: expected images, found none")
    return [(path.relative_to(folder).as_posix(), []) for path in files]


def _read(path: Path) -> list[tuple[str, list[str]]]:
    if not path.is_file():
        raise LayoutError(f"there is no caption file {path}")
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["id"]: (row["file_name"], list(row.get("captions", ()))) for row in document["images"]}
    for entry in document.get("annotations", ()):
        rows[entry["image_id"]][1].append(entry["caption"])
    if not rows:
        raise LayoutError(f"{path} lists no images")
    bare = next((name for name, captions in rows.values() if not captions), None)
    if bare is not None:
        raise LayoutError(f"{path}: image {bare} has no caption")
    return list(rows.values())
