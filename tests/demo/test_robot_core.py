"""The robot's core without ROS: frames, words, regions, diagnostics."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from ovperc.tasks.segmentation.prediction import SegPrediction

_PATH = Path(__file__).parents[2] / "demo" / "robot" / "core.py"
_SPEC = importlib.util.spec_from_file_location("robot_core", _PATH)
core = importlib.util.module_from_spec(_SPEC)
sys.modules["robot_core"] = core
_SPEC.loader.exec_module(core)


class FakeModel:
    """Labels a frame by its brightness; slow if asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.names = ("dark", "bright")
        self.seconds = seconds

    def set_words(self, words: str, background: str | None = None) -> None:
        if not words:
            raise ValueError("the words are empty")
        self.names = tuple(words.split(", "))

    def predict(self, image: np.ndarray) -> SegPrediction:
        if image.shape[0] == 1:
            raise ValueError("too small")
        time.sleep(self.seconds)
        labels = (image[:, :, 0] > 127).astype(np.uint16)
        return SegPrediction(labels, np.full(labels.shape, 0.5, np.float32), self.names)


def _frame(value: int = 200) -> np.ndarray:
    frame = np.zeros((20, 30, 3), np.uint8)
    frame[5:15, 10:25] = value
    return frame


def _wait(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_newest_frame_wins_and_nothing_blocks() -> None:
    answers, begun = [], threading.Event()
    model = FakeModel(0.15)

    def answered(answer) -> None:
        answers.append(answer)
        begun.set()

    node = core.SegmentationCore(model, answered)
    begin = time.monotonic()
    for index in range(50):
        node.push(_frame(), stamp=index)
        time.sleep(0.001)
    assert time.monotonic() - begin < 5
    _wait(lambda: answers and answers[-1].stamp == 49)
    node.close()
    assert len(answers) + sum(answer.skipped for answer in answers) == 50
    assert len(answers) < 25
    assert not node.push(_frame())


def test_regions_words_and_legend() -> None:
    answers = []
    node = core.SegmentationCore(FakeModel(), answers.append, min_area_px=1)
    node.push(_frame())
    _wait(lambda: answers)
    assert [(r.name, r.box, r.area_px) for r in answers[0].regions] == [
        ("dark", (0, 0, 30, 20), 450),
        ("bright", (10, 5, 25, 15), 150),
    ]
    assert answers[0].regions[0].score == pytest.approx(0.5)
    assert node.set_words("") == (False, "the words are empty")
    assert node.set_words("background, star") == (True, "background, star")
    assert [entry["name"] for entry in json.loads(node.legend())] == ["background", "star"]
    node.push(_frame())
    _wait(lambda: len(answers) == 2)
    assert [region.name for region in answers[1].regions] == ["star"], "background is no detection"
    node.close()


def test_bad_frames_do_not_stop_the_core() -> None:
    answers, errors = [], []
    node = core.SegmentationCore(FakeModel(), answers.append, on_error=lambda stamp, error: errors.append(stamp))
    assert node.diagnostics().message == "waiting for frames"
    node.push(np.zeros((1, 1, 3), np.uint8), stamp="bad")
    _wait(lambda: errors)
    assert node.diagnostics().level == 2 and "too small" in node.diagnostics().message
    node.push(_frame())
    _wait(lambda: answers)
    assert (node.diagnostics().level, node.diagnostics().failed) == (0, 1)
    node.close()


def test_slow_models_are_told() -> None:
    answers = []
    node = core.SegmentationCore(FakeModel(0.05), answers.append, max_latency_s=0.01)
    node.push(_frame())
    _wait(lambda: answers)
    assert node.diagnostics().level == 1
    node.close()


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_image_messages_with_padded_rows(encoding: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    alpha = np.full((4, 5, 1), 7, np.uint8)
    sent = {
        "rgb8": rgb,
        "bgr8": rgb[:, :, ::-1],
        "rgba8": np.concatenate([rgb, alpha], axis=2),
        "bgra8": np.concatenate([rgb[:, :, ::-1], alpha], axis=2),
        "mono8": rgb[:, :, :1],
    }[encoding]
    rows = np.pad(sent.reshape(4, -1), ((0, 0), (0, 3)))
    frame = core.decode_image(rows.tobytes(), 4, 5, encoding, rows.shape[1])
    assert (frame == (rgb if encoding != "mono8" else rgb[:, :, :1])).all()
    assert frame.shape == (4, 5, 3)


def test_image_messages_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="'32FC1' is not supported"):
        core.decode_image(b"", 1, 1, "32FC1", 4)
    with pytest.raises(ValueError, match="rows of 15 bytes"):
        core.decode_image(b"\0" * 10, 4, 5, "rgb8", 15)


def test_components_equal_scipy() -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 1), (1, 9), (17, 23), (40, 40)):
        labels = rng.integers(0, 3, size)
        ours = core.connected_components(labels)
        total = 0
        for label in range(3):
            theirs, count = ndimage.label(labels == label)
            total += count
            pairs = {(a, b) for a, b in zip(ours[labels == label], theirs[labels == label], strict=True)}
            assert len(pairs) == count
        assert ours.max() + 1 == total
