"""Tiny data sets in the true layouts of the benchmarks: file names, palettes, JSON structure and odd cases."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ovperc.data.benchmarks import BENCHMARKS
from ovperc.data.layout import Layout
from ovperc.data.segmentation.benchmark import SegmentationBenchmark

VOID = -1
NAMES = {
    "voc21": ("2007_000033", "2007_000042", "2007_000061"),
    "context60": ("2008_000002", "2008_000003", "2008_000007"),
    "pc459": ("2008_000002", "2008_000003", "2008_000007"),
    "coco_stuff171": ("000000000139", "000000000285", "000000000632"),
    "coco_object": ("000000000139", "000000000285", "000000000632"),
    "coco-sample": ("000000000139", "000000000285", "000000000632"),
    "cityscapes": ("frankfurt/frankfurt_000000_000294", "munster/munster_000000_000019"),
    "ade150": ("ADE_val_00000001", "ADE_val_00000002", "ADE_val_00000003"),
    "ade847": ("ADE_val_00000001", "ADE_val_00000002", "ADE_val_00000003"),
}
SHARED = {"voc20": "voc21", "context59": "context60"}
"""Benchmarks without background on the files of one with background."""
SIZES_HW = ((40, 56), (56, 40), (48, 48))


@dataclass(frozen=True)
class Fixture:
    """A tiny data set.

    Attributes:
        row: as in the package, with the tiny count.
        root: of the data set.
        labels: sample name -> ``(H, W)`` int64, label of each pixel in the row's own label map, -1 for void.
    """

    row: SegmentationBenchmark
    root: Path
    labels: Mapping[str, np.ndarray]

    @property
    def layout(self) -> Layout:
        """Of its files."""
        return self.row.source.layout.of_split()


def make_fixture(name: str, root: Path, seed: int = 0) -> Fixture:
    """Writes the files of benchmark ``name`` below ``root`` and says what its annotations mean."""
    labels = MAKERS[SHARED.get(name, name)](root, np.random.default_rng(seed))
    if name in SHARED:
        labels = {sample: np.maximum(drawn - 1, VOID) for sample, drawn in labels.items()}
    row = BENCHMARKS[name]
    layout = replace(row.source.layout, count=len(labels), names_sha256="")
    return Fixture(replace(row, source=replace(row.source, layout=layout)), root, labels)


def blocks(rng: np.random.Generator, size_hw: tuple[int, int], values: list[int]) -> np.ndarray:
    """A map of 8 px blocks, each of one of ``values``; every value occurs where there is room."""
    grid = (size_hw[0] + 7) // 8, (size_hw[1] + 7) // 8
    cells = rng.permutation(np.resize(values, grid[0] * grid[1])).reshape(grid)
    return np.kron(cells, np.ones((8, 8), dtype=np.int64))[: size_hw[0], : size_hw[1]]


def _coded(labels: np.ndarray, code: Callable[[int], int]) -> np.ndarray:
    """The numbers a file holds for labels."""
    raw = np.zeros(labels.shape, dtype=np.int64)
    for label in np.unique(labels):
        raw[labels == label] = code(int(label))
    return raw


def _save(path: Path, pixels: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(_voc_palette())
    image.save(path, **({"quality": 90} if path.suffix == ".jpg" else {}))


def _voc_palette() -> list[int]:
    """PASCAL VOC's 256 colours: bits of the index dealt to the three channels, highest first."""
    colours = []
    for index in range(256):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        colours += rgb
    return colours


def _photo(rng: np.random.Generator, path: Path, size_hw: tuple[int, int], grey: bool = False) -> None:
    shape = size_hw if grey else (*size_hw, 3)
    _save(path, rng.integers(0, 256, shape).astype(np.uint8))


def _voc(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    labels = {}
    for name, size in zip(NAMES["voc21"], SIZES_HW, strict=True):
        labels[name] = blocks(rng, size, [*range(21), VOID])
        _photo(rng, root / f"JPEGImages/{name}.jpg", size)
        raw = _coded(labels[name], lambda label: 255 if label == VOID else label).astype(np.uint8)
        _save(root / f"SegmentationClass/{name}.png", raw, palette=True)
    _write_list(root / "ImageSets/Segmentation/val.txt", NAMES["voc21"])
    _write_list(root / "ImageSets/Segmentation/train.txt", ["2007_000032"])
    return labels


def _write_list(path: Path, names: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def run_lengths(mask: np.ndarray) -> dict[str, object]:
    """COCO's uncompressed run lengths of a mask ``(H, W)`` bool: column-major, zeros first."""
    counts, value, run = [], 0, 0
    for pixel in mask.T.reshape(-1).astype(int).tolist():
        if pixel != value:
            counts.append(run)
            value, run = pixel, 0
        run += 1
    return {"size": list(mask.shape), "counts": [*counts, run]}


def _context_ids() -> list[int]:
    """Ids of the release (1..459) of the 59 classes, by name."""
    vocabularies = Path(__file__).parents[2] / "ovperc/text/vocabularies"
    every = json.loads((vocabularies / "pc459.json").read_text())["classes"]
    frequent = json.loads((vocabularies / "context59.json").read_text())["classes"]
    return [every.index(name) + 1 for name in frequent]


def _context(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    ids = _context_ids()
    rare = next(number for number in range(1, 460) if number not in ids)
    labels, images, annotations = {}, [], []
    for index, (name, size) in enumerate(zip(NAMES["context60"], SIZES_HW, strict=True)):
        labels[name] = blocks(rng, size, [0, *rng.choice(range(1, 60), 6, replace=False).tolist()])
        _photo(rng, root / f"JPEGImages/{name}.jpg", size)
        images.append(
            {"image_id": index, "file_name": f"{name}.jpg", "phase": "val", "height": size[0], "width": size[1]}
        )
        for label in np.unique(labels[name]):
            number = ids[label - 1] if label else rare
            annotations.append(
                {"image_id": index, "category_id": number, "segmentation": run_lengths(labels[name] == label)}
            )
    train = {"image_id": 99, "file_name": "2008_000001.jpg", "phase": "train", "height": 8, "width": 8}
    content = {"images": [*images, train], "annos_segmentation": annotations}
    (root / "trainval_merged.json").write_text(json.dumps(content))
    return labels


def _pc459(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    from scipy.io import savemat

    labels = {}
    (root / "trainval").mkdir(parents=True)
    for name, size in zip(NAMES["pc459"], SIZES_HW, strict=True):
        labels[name] = blocks(rng, size, [0, 255, 430, 458, *rng.choice(459, 5).tolist(), VOID])
        _photo(rng, root / f"JPEGImages/{name}.jpg", size)
        savemat(root / f"trainval/{name}.mat", {"LabelMap": (labels[name] + 1).astype(np.uint16)})
    _write_list(root / "pascalcontext_val.txt", NAMES["pc459"])
    return labels


def _stuff_ids() -> list[int]:
    """Pixel values of the 171 COCO-Stuff classes: 0..181 without the 11 that were dropped."""
    dropped = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
    return [number - 1 for number in range(1, 183) if number not in dropped]


def _coco_stuff(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    ids, labels = _stuff_ids(), {}
    for index, (name, size) in enumerate(zip(NAMES["coco_stuff171"], SIZES_HW, strict=True)):
        labels[name] = blocks(rng, size, [0, 79, 80, 170, *rng.choice(171, 8).tolist(), VOID])
        _photo(rng, root / f"images/val2017/{name}.jpg", size, grey=index == 1)
        raw = _coded(labels[name], lambda label: 255 if label == VOID else ids[label])
        _save(root / f"annotations/val2017/{name}.png", raw.astype(np.uint8))
    return labels


def _coco_object(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    stuff = _coco_stuff(root, rng)
    return {name: np.where((label >= 0) & (label < 80), label + 1, 0) for name, label in stuff.items()}


def make_coco_instances(root: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """COCO images with instance annotations only: a polygon, a small mask over a large one, a crowd, an empty image."""
    rng = np.random.default_rng(seed)
    labels = {name: np.zeros(size, dtype=np.int64) for name, size in zip(NAMES["coco_object"], SIZES_HW, strict=True)}
    first, second, _ = NAMES["coco_object"]
    for name, size in zip(NAMES["coco_object"], SIZES_HW, strict=True):
        _photo(rng, root / f"images/val2017/{name}.jpg", size)

    def box(name: str, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        mask = np.zeros(labels[name].shape, dtype=bool)
        mask[top:bottom, left:right] = True
        return mask

    large, small, crowd = box(second, 8, 8, 48, 32), box(second, 16, 16, 24, 24), box(second, 0, 0, 16, 40)
    annotations = [
        {"image_id": 285, "category_id": 90, "iscrowd": 0, "area": 64.0, "segmentation": run_lengths(small)},
        {"image_id": 285, "category_id": 1, "iscrowd": 0, "area": 960.0, "segmentation": run_lengths(large)},
        {"image_id": 285, "category_id": 1, "iscrowd": 1, "area": 640.0, "segmentation": run_lengths(crowd)},
        {
            "image_id": 139,
            "category_id": 13,
            "iscrowd": 0,
            "area": 256.0,
            "segmentation": [[8, 8, 24, 8, 24, 24, 8, 24]],
        },
    ]
    labels[second][crowd] = VOID
    labels[second][large] = 1
    labels[second][small] = 80
    labels[first][8:24, 8:24] = 12
    images = [
        {"id": int(name), "file_name": f"{name}.jpg", "height": size[0], "width": size[1]}
        for name, size in zip(NAMES["coco_object"], SIZES_HW, strict=True)
    ]
    path = root / "annotations/instances_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": []}))
    return labels


def _coco_sample(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Both splits (val2017 last); one image of each has no label map."""
    ids = [*(number + 1 for number in _stuff_ids()[:80]), 92, 200]  # the stuff classes between are of no interest
    labels = {}
    for split in ("train2017", "val2017"):
        for name, size in zip(NAMES["coco-sample"], SIZES_HW, strict=True):
            drawn = blocks(rng, size, [0, 79, 80, 81, *rng.choice(80, 8).tolist(), VOID])
            labels[name] = np.where(drawn == 81, 132, drawn)
            _photo(rng, root / f"images/{split}/{name}.jpg", size)
            raw = _coded(drawn, lambda label: 0 if label == VOID else ids[label])
            _save(root / f"semantic/{split}/{name}.png", raw.astype(np.uint8))
        _photo(rng, root / f"images/{split}/000000999999.jpg", SIZES_HW[0])
    return labels


def _cityscapes(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    labels = {}
    for name in NAMES["cityscapes"]:
        size = (64, 128)
        labels[name] = blocks(rng, size, [*range(19), VOID])
        _photo(rng, root / f"leftImg8bit/val/{name}_leftImg8bit.png", size)
        raw = _coded(labels[name], lambda label: 4 if label == VOID else ids[label]).astype(np.uint8)
        _save(root / f"gtFine/val/{name}_gtFine_labelIds.png", raw)
        _save(root / f"gtFine/val/{name}_gtFine_instanceIds.png", raw.astype(np.uint16) * 1000)
        _save(root / f"gtFine/val/{name}_gtFine_color.png", np.stack([raw] * 3, axis=2))
        (root / f"gtFine/val/{name}_gtFine_polygons.json").write_text("{}")
    return labels


def _ade2016(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    labels = {}
    for name, size in zip(NAMES["ade150"], SIZES_HW, strict=True):
        labels[name] = blocks(rng, size, [0, 149, *rng.choice(150, 10).tolist(), VOID])
        _photo(rng, root / f"images/validation/{name}.jpg", size)
        raw = _coded(labels[name], lambda label: 0 if label == VOID else label + 1)
        _save(root / f"annotations/validation/{name}.png", raw.astype(np.uint8))
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n")
    return labels


def _ade_full(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The first image is above 512 px on its short side; its labels are expected at the shrunk size."""
    maps = Path(__file__).parents[2] / "ovperc/assets/label_maps"
    ids = json.loads((maps / "ade_full_to_847.json").read_text())["raw_ids"]
    unknown = next(number for number in range(1, 3000) if number not in ids)
    labels = {}
    for name, size in zip(NAMES["ade847"], ((1024, 1152), *SIZES_HW[1:]), strict=True):
        scale = 2 if size[0] > 512 else 1
        small = blocks(rng, (size[0] // scale, size[1] // scale), [0, 255, 846, *rng.choice(847, 9).tolist(), VOID])
        labels[name] = small
        truth = np.kron(small, np.ones((scale, scale), dtype=np.int64))
        folder = root / "images/ADE/validation/urban/street"
        _photo(rng, folder / f"{name}.jpg", size)
        objects = _coded(truth, lambda label: unknown if label == VOID else ids[label])
        seg = np.stack([objects // 256 * 10, objects % 256, np.zeros_like(objects)], axis=2).astype(np.uint8)
        _save(folder / f"{name}_seg.png", seg)
        _save(folder / f"{name}_parts_1.png", seg)
        (folder / f"{name}.json").write_text("{}")
    return labels


MAKERS: dict[str, Callable[[Path, np.random.Generator], dict[str, np.ndarray]]] = {
    "voc21": _voc,
    "context60": _context,
    "pc459": _pc459,
    "coco_stuff171": _coco_stuff,
    "coco_object": _coco_object,
    "coco-sample": _coco_sample,
    "cityscapes": _cityscapes,
    "ade150": _ade2016,
    "ade847": _ade_full,
}
