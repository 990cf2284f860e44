"""Boundary IoU against eroding each class's mask pixel by pixel."""

import cv2
import numpy as np
import pytest

from ovperc.evaluation.metrics.boundary import BoundaryIoU, band_width_px, contour_band

RNG = np.random.default_rng(0)


def blocky(size_hw, classes, cell=7):
    grid = RNG.integers(0, classes, (size_hw[0] // cell + 1, size_hw[1] // cell + 1))
    return np.kron(grid, np.ones((cell, cell), dtype=np.int64))[: size_hw[0], : size_hw[1]]


def band_by_erosion(mask, width):
    """The paper's construction: the mask without itself eroded; outside the image is background."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & ~eroded.astype(bool)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_band_equals_erosion_class_by_class(width):
    labels = blocky((40, 61), 4, cell=13)
    band = contour_band(labels, width)
    for label in range(4):
        assert np.array_equal(band & (labels == label), band_by_erosion(labels == label, width))


@pytest.mark.parametrize("ignored", [255, 65535])
def test_scores_equal_the_paper_class_by_class(ignored):
    meter = BoundaryIoU(6, ignored)
    intersection, union = np.zeros(6), np.zeros(6)
    for size in ((50, 70), (64, 33)):
        target, prediction = blocky(size, 5, 11), blocky(size, 6, 9)
        target[:4] = ignored
        meter.update(prediction.astype(np.uint16), target)
        width = band_width_px(size)
        for label in range(6):
            true = band_by_erosion(target == label, width)
            predicted = band_by_erosion((prediction == label) & (target != ignored), width)
            intersection[label] += (true & predicted).sum()
            union[label] += (true | predicted).sum()
    assert np.allclose(meter.iou().numpy(), intersection / union)


def test_perfect_and_absent():
    meter = BoundaryIoU(3)
    labels = blocky((40, 40), 2)
    meter.update(labels, labels)
    assert meter.iou()[:2].tolist() == [1, 1] and np.isnan(meter.iou()[2]) and meter.score() == 100


def test_width_and_bad_input():
    assert band_width_px((10, 10)) == 1 and band_width_px((300, 400)) == 10
    with pytest.raises(ValueError, match="differ in size"):
        BoundaryIoU(2).update(np.zeros((3, 3), int), np.zeros((3, 4), int))
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        BoundaryIoU(2, band=2)
