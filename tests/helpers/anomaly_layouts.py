"""Tiny anomaly sets in the layouts of their publishers; every image carries a mark that its mask shows."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

MARK = (slice(4, 9), slice(6, 12))
HW = (16, 20)
BRIGHT = 250


def mark_mask(hw: tuple[int, int] = HW) -> np.ndarray:
    """Where every defective image is marked."""
    mask = np.zeros(hw, bool)
    mask[MARK] = True
    return mask


@dataclass
class Writer:
    """Writes images and masks below a root.

    Attributes:
        root: folder of the set.
        grey: whether images are single-channel.
    """

    root: Path
    grey: bool = False
    _count: int = field(default=0, init=False)

    def image(self, path: str, defect: bool = False, hw: tuple[int, int] = HW) -> None:
        """An image of dark noise, the mark bright where it is defective."""
        self._count += 1
        pixels = np.random.default_rng(self._count).integers(0, 60, (*hw, 3), dtype=np.uint8)
        if defect:
            pixels[MARK] = BRIGHT
        picture = Image.fromarray(pixels[..., 0] if self.grey else pixels)
        self._save(picture, path, quality=100, subsampling=0)

    def mask(self, path: str, value: int = 255, mode: str = "L", empty: bool = False) -> None:
        """A mask of the mark, in a mode of Pillow's."""
        values = (np.zeros(HW, bool) if empty else mark_mask()).astype(np.uint8) * value
        picture = Image.fromarray(values)
        if mode == "P":
            picture.putpalette([0, 0, 0, *([0, 0, 0] * 255)])  # the index tells, not the colour
        elif mode == "RGBA":
            colour = np.dstack([values, values * 0, values * 0, np.full(HW, 255, np.uint8)])
            picture = Image.fromarray(colour)
        elif mode == "1":
            picture = picture.point(lambda v: 255 if v else 0).convert("1")
        self._save(picture, path)

    def _save(self, picture: Image.Image, path: str, **settings: object) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".png": "PNG"}
        picture.save(target, formats[target.suffix.lower()], **(settings if "jp" in target.suffix.lower() else {}))


def write_mvtec(root: Path, categories: tuple[str, ...], good: str = "good", bad: str = "broken", suffix: str = ".png",
                mask: str = "{}_mask.png", grey: bool = False) -> None:  # fmt: skip
    """2 training images, 2 good and 2 defective test images a category."""
    writer = Writer(root, grey)
    for category in categories:
        for number in range(2):
            writer.image(f"{category}/train/{good}/{number:03d}{suffix}")
            writer.image(f"{category}/test/{good}/{number:03d}{suffix}")
            writer.image(f"{category}/test/{bad}/{number:03d}{suffix}", defect=True)
            writer.mask(f"{category}/ground_truth/{bad}/{mask.format(f'{number:03d}')}")


def write_visa(root: Path, categories: tuple[str, ...]) -> None:
    """VisA as downloaded: masks hold class numbers, the split is a table."""
    writer, rows = Writer(root), []
    for category in categories:
        for number in range(4):
            image = f"{category}/Data/Images/Normal/{number:04d}.JPG"
            writer.image(image)
            rows.append((category, "train" if number < 2 else "test", "normal", image, ""))
        for number in range(2):
            image, mask = (f"{category}/Data/{part}/{number:03d}" for part in ("Images/Anomaly", "Masks/Anomaly"))
            writer.image(f"{image}.JPG", defect=True)
            writer.mask(f"{mask}.png", value=number + 1, mode="P")
            rows.append((category, "test", "anomaly", f"{image}.JPG", f"{mask}.png"))
        (root / category / "image_anno.csv").write_text("image,label,mask\n")
    (root / "split_csv").mkdir()
    with (root / "split_csv" / "1cls.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("object", "split", "label", "image", "mask"), *rows])


def write_dagm(root: Path, categories: tuple[str, ...]) -> None:
    """DAGM: upper-case suffixes, and a label file for defective images only."""
    writer = Writer(root, grey=True)
    for category in categories:
        for split in ("Train", "Test"):
            for number, defect in enumerate((False, True, False, True, False)):
                writer.image(f"{category}/{split}/{number + 576:04d}.PNG", defect)
                if defect:
                    writer.mask(f"{category}/{split}/Label/{number + 576:04d}_label.PNG")
            (root / category / split / "Label" / "SegmentationMap.txt").write_text("1\n")


def write_kolektor_raw(root: Path) -> None:
    """KolektorSDD as downloaded: a label beside each image, empty for normal ones."""
    writer = Writer(root, grey=True)
    for folder in range(1, 4):
        for part in range(4):
            defect = part == 2
            writer.image(f"kos{folder:02d}/Part{part}.jpg", defect)
            writer.mask(f"kos{folder:02d}/Part{part}_label.bmp", empty=not defect)


def write_kinds(root: Path, folder: str, normal: str, bad: str) -> None:
    """Image-level sets: 2 normal and 3 anomalous images."""
    writer = Writer(root)
    for number in range(2):
        writer.image(f"{folder}{normal}/{normal}{number}.jpg")
    for number in range(3):
        writer.image(f"{folder}{bad}/{bad}{number}.png", defect=True)


def write_flat(root: Path, images: str, masks: str, mask_name: str = "{}.png") -> None:
    """Pixel-level sets without normal images."""
    writer = Writer(root)
    for number in (1, 2, 10):  # sorted as text, the second would be 10
        writer.image(f"{images}/{number}.png", defect=True)
        writer.mask(f"{masks}/{mask_name.format(number)}")


def write_isic(root: Path) -> None:
    """ISBI 2016."""
    writer = Writer(root)
    for number in range(3):
        writer.image(f"skin/test/bad/ISIC_{number:07d}.jpg", defect=True)
        writer.mask(f"skin/ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_{number:07d}_Segmentation.png")


def write_meta(root: Path, capital: bool = False, prefix: str = "") -> None:
    """An MVTec-like set with a ``meta.json``."""
    write_mvtec(root, ("bottle",))

    def row(path: str, mask: str = "", kind: str = "good") -> dict[str, object]:
        return {"img_path": prefix + path, "mask_path": mask and prefix + mask, "cls_name": "bottle",
                "specie_name": kind, "anomaly": int(bool(mask))}  # fmt: skip

    rows = {
        "train": [row(f"bottle/train/good/{n:03d}.png") for n in range(2)],
        "test": [row(f"bottle/test/good/{n:03d}.png") for n in range(2)],
    }
    for n in range(2):
        mask = f"bottle/ground_truth/broken/{n:03d}_mask.png"
        rows["test"].append(row(f"bottle/test/broken/{n:03d}.png", mask, "broken"))
    meta = {(split.capitalize() if capital else split): {"bottle": entries} for split, entries in rows.items()}
    (root / "meta.json").write_text(json.dumps(meta))


@dataclass(frozen=True)
class Fixture:
    """How a set is written, and what a reader must find in each category: training, good and anomalous images."""

    write: Callable[[Path], None]
    train: int
    good: int
    bad: int
    masks: bool = True
