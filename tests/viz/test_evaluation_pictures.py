"""Panels, confusion picture and the report page."""

import re

import numpy as np
import pytest

from ovperc.viz.confusion import confusion_heat_map
from ovperc.viz.gallery import WorstImage, largest_confusion, write_gallery
from ovperc.viz.panels import evaluation_panel

RNG = np.random.default_rng(0)
NAMES = ("background", "cat", "dog & co")


@pytest.fixture
def panel():
    image = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    target = np.zeros((60, 80), dtype=np.uint8)
    target[:, 40:] = 1
    target[:6] = 255
    return evaluation_panel(image, target, np.zeros((60, 80), np.int32), NAMES, 255, background=True)


def test_panel_has_four_tiles_and_shows_right_wrong_and_void(panel):
    pixels = np.asarray(panel)
    height, width, _ = pixels.shape
    assert width > 4 * 400 and height > 300
    error = pixels[:, 3 * width // 4 :]
    red = (error[..., 0] > 150) & (error[..., 1] < 110)
    dark = error.max(axis=2) < 90
    assert 0.3 < red.mean() < 0.5
    assert 0.02 < dark.mean() < 0.2


def test_large_labels_and_16_bit_void():
    image = np.zeros((16, 16, 3), np.uint8)
    target = np.full((16, 16), 846, np.uint16)
    target[0] = 65535
    evaluation_panel(image, target, target.copy() % 847, [f"c{index}" for index in range(847)], 65535)


def test_confusion_sums_small_classes_up():
    counts = np.diag(np.arange(1, 31))
    few = confusion_heat_map(counts, [f"class {index}" for index in range(30)], max_classes=8)
    all_shown = confusion_heat_map(counts[:8, :8], [f"class {index}" for index in range(8)])
    assert abs(few.width - all_shown.width) < 30
    assert confusion_heat_map(np.zeros((2, 2)), ["a", "b"]).width > 50


def test_largest_confusion():
    target, prediction = np.array([[0, 1, 1, 255]]), np.array([[0, 2, 2, 1]])
    assert largest_confusion(target, prediction, NAMES, 255) == "cat predicted as dog & co: 67% of the pixels"
    assert largest_confusion(target, target, NAMES, 255) == ""


def test_page_is_self_contained_and_escapes(tmp_path, panel):
    path = tmp_path / "report.html"
    iou = np.array([0.5, np.nan, 0.1])
    write_gallery(
        path, "m <1>", {"mIoU": 30.04}, NAMES, iou, np.eye(3) * 9, [WorstImage("a&b", 12.0, panel)], {"images": 3}
    )
    page = path.read_text()
    assert "m &lt;1&gt;" in page and "dog &amp; co" in page and "a&amp;b" in page and "30.0" in page
    assert page.index("dog &amp; co") < page.index(">background<") < page.index(">cat<")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("data:image/") == 2
    assert list(tmp_path.iterdir()) == [path]
