"""Training batches of photographs, and the store of a teacher's embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from PIL import Image

from ovperc.cli.store_teacher import main as store_teacher
from ovperc.data.detection.batch import join
from ovperc.data.detection.sample import DetectionSample
from ovperc.io.coco import encode_rle
from ovperc.training.detection_set import DetectionTraining, Jitter
from ovperc.training.teacher_store import TeacherHeader, TeacherRecord, TeacherStore, order_digest, write_store

NAMES = [f"picture {number}" for number in range(5)]


class Pictures:
    """Two pictures: red squares on black, one of a class that training does not know, one crowd."""

    classes = ("square", "novel thing")
    groups = MappingProxyType({"base": (0,), "novel": (1,)})

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> DetectionSample:
        image = np.zeros((40, 80, 3), np.uint8)
        boxes = np.array([[10, 5, 30, 25], [50, 10, 70, 30], [0, 0, 80, 40]], np.float32)[: 3 if index == 0 else 0]
        masks = []
        for x0, y0, x1, y1 in boxes.astype(int):
            mask = np.zeros((40, 80), bool)
            mask[y0:y1, x0:x1] = True
            masks.append(encode_rle(mask))
        if index == 0:
            image[5:25, 10:30] = (200, 0, 0)
        labels = np.array([0, 1, 0])[: len(boxes)]
        crowd = np.array([False, False, True])[: len(boxes)]
        return DetectionSample(image, boxes, labels, tuple(masks), crowd, index + 1, f"picture {index}")


def header(**changes) -> TeacherHeader:
    fields = {
        "teacher": "clip-mini",
        "fingerprint": "abc",
        "proposals": "sam_regions",
        "crop_px": 48,
        "contexts": (1.0, 1.5),
        "keep": 3,
        "names": order_digest(NAMES),
        "images": len(NAMES),
        "shard_size": 2,
    }
    return TeacherHeader(**{**fields, **changes})


def taught(row: int) -> TeacherRecord:
    generator = torch.Generator().manual_seed(row)
    corner = torch.rand(row, 2, generator=generator) / 2
    features = torch.nn.functional.normalize(torch.randn(row, 6, generator=generator), dim=1)
    return TeacherRecord(torch.cat([corner, corner + 0.3], dim=1), torch.rand(row, generator=generator), features)


def test_a_store_reads_what_was_written(tmp_path: Path) -> None:
    assert write_store(tmp_path, header(), NAMES, taught) == 5
    store = TeacherStore(tmp_path, fingerprint="abc")
    for row, name in enumerate(NAMES):
        assert torch.equal(store[name].boxes, taught(row).boxes)
        assert torch.allclose(store[name].features, taught(row).features, atol=1e-3)
    with pytest.raises(ValueError, match="another set of images"):
        store["picture 9"]
    with pytest.raises(ValueError, match="crop_px"):
        TeacherStore(tmp_path, crop_px=224)


def test_a_killed_writer_goes_on(tmp_path: Path) -> None:
    def dies(row: int) -> TeacherRecord:
        if row == 3:
            raise KeyboardInterrupt
        return taught(row)

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path, header(), NAMES, dies)
    with pytest.raises(ValueError, match="half written: 2 of 3"):
        TeacherStore(tmp_path)
    assert write_store(tmp_path, header(), NAMES, taught) == 3
    assert len(TeacherStore(tmp_path)["picture 4"].boxes) == 4
    assert write_store(tmp_path, header(), NAMES, taught) == 0
    with pytest.raises(ValueError, match="keep 3, not 4"):
        write_store(tmp_path, header(keep=4), NAMES, taught)
    with pytest.raises(ValueError, match="different image names"):
        write_store(tmp_path / "other", header(), ["same"] * 5, taught)
    with pytest.raises(ValueError, match="no header"):
        TeacherStore(tmp_path / "absent")


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_boxes_and_masks_move_with_the_pixels(flip: float) -> None:
    data = DetectionTraining(Pictures(), [["square"]], size_px=64, scale=(0.5, 2.0), flip=flip, least_area=0.1)
    for seed in range(8):
        np.random.seed(seed)  # noqa: NPY002
        batch = data[0]
        red = batch.images[0, 0] > 150
        if not len(batch.boxes[0]):
            assert red.sum() < 0.2 * 20 * 20 * 4
            continue
        assert len(batch.boxes[0]) == 1 and batch.labels[0].tolist() == [[0]]
        ys, xs = torch.nonzero(red, as_tuple=True)
        seen = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
        assert (batch.boxes[0][0] - seen).abs().max() <= 1.5
        assert (batch.masks[0][0] ^ red).float().mean() < 0.03


def test_batches_join_and_empty_pictures_stay() -> None:
    data = DetectionTraining(Pictures(), [["square"]], size_px=64, scale=(0.8, 0.8), flip=0.0)
    batch = join([data[0], data[1]])
    assert batch.images.shape == (2, 3, 64, 64) and [len(part) for part in batch.boxes] == [1, 0]
    assert batch.masks[1].shape == (0, 64, 64) and batch.regions is None
    with pytest.raises(ValueError, match="names a class"):
        DetectionTraining(Pictures(), [["circle"]])


def test_teacher_regions_follow_flip_and_crop(tmp_path: Path) -> None:
    names = ["picture 0", "picture 1"]
    table = TeacherRecord(torch.tensor([[0.125, 0.125, 0.375, 0.625]]), torch.ones(1), torch.eye(6)[:1])
    write_store(tmp_path, header(images=2, names=order_digest(names)), names, lambda row: table)
    data = DetectionTraining(Pictures(), [["square"]], size_px=64, scale=(0.8, 0.8), flip=1.0, teacher=tmp_path)
    batch = data[0]
    assert torch.allclose(batch.regions[0], batch.boxes[0], atol=1e-4) and batch.features[0].shape == (1, 6)
    jitter = Jitter((40, 80), False, (40, 0), 40)
    boxes, kept = jitter.boxes(torch.tensor([[0.0, 0.0, 0.55, 1.0], [0.5, 0.0, 1.0, 1.0]]), 0.25)
    assert kept.tolist() == [1] and boxes.tolist() == [[0, 0, 40, 40]]


def test_the_tool_writes_a_store(tmp_path: Path, capsys) -> None:
    (tmp_path / "images").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 40, 3), dtype=np.uint8)
        pixels[8:24, 10:26] = (220, 30, 30)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    options = ["--out", str(tmp_path / "store"), "--crop-px", "48", "--keep", "4", "--quiet"]
    assert store_teacher([str(tmp_path / "images"), *options]) == 0
    assert "2 images, 2 added now" in capsys.readouterr().out
    assert json.loads((tmp_path / "store" / "header.json").read_text())["crop_px"] == 48
    assert store_teacher([str(tmp_path / "images"), *options]) == 0
    assert "0 added now" in capsys.readouterr().out
    assert store_teacher([str(tmp_path / "absent"), *options]) == 2
    assert store_teacher([str(tmp_path / "images"), *options, "--method", "maskclip"]) == 2
