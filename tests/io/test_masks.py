"""Label and confidence maps on disk, read back by other libraries too."""

import cv2
import numpy as np
import pytest
from PIL import Image

from ovperc.io.masks import read_confidence, read_labels, write_confidence, write_labels

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 5)])
def test_labels_survive_and_other_readers_agree(tmp_path, shape):
    labels = RNG.integers(0, 65536, shape, dtype=np.uint16)
    path = tmp_path / "labels.png"
    write_labels(path, labels)
    assert np.array_equal(read_labels(path), labels)
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), labels)


def test_eight_bit_maps_are_read(tmp_path):
    labels = RNG.integers(0, 256, (5, 6), dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "small.png")
    read = read_labels(tmp_path / "small.png")
    assert read.dtype == np.uint16 and np.array_equal(read, labels)


def test_confidence_survives_within_half_a_step(tmp_path):
    confidence = RNG.random((20, 30), dtype=np.float32)
    confidence[0, :2] = 0, 1
    write_confidence(tmp_path / "c.png", confidence)
    read = read_confidence(tmp_path / "c.png")
    assert read.dtype == np.float32 and read[0, 0] == 0 and read[0, 1] == 1
    assert np.abs(read - confidence).max() <= 0.5001 / 65535


def test_errors_name_the_file(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the label map .*none\.png"):
        read_labels(tmp_path / "none.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"colour\.png' must be an 8- or 16-bit greyscale PNG.*RGB"):
        read_labels(tmp_path / "colour.png")
    write_labels(tmp_path / "cut.png", RNG.integers(0, 999, (50, 50)).astype(np.uint16))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cut\.png"):
        read_labels(tmp_path / "cut.png")
    with pytest.raises(ValueError, match="uint16; got"):
        write_labels(tmp_path / "x.png", np.zeros((2, 2), np.int32))
