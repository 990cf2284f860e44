"""Runs that are killed, split into shards, or restarted give the scores of one unbroken run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.labelled_images import SmallImages, ThresholdSegmenter, small_bank
from ovperc.data.annotations import read_annotation
from ovperc.data.segmentation.benchmark import SegmentationBenchmark
from ovperc.evaluation.eval_loop import EvalOptions, EvalOutcome, Shard, run_eval_loop
from ovperc.evaluation.metrics.evaluation_state import EvaluationState
from ovperc.evaluation.progress import ProgressFolder, settings_digest

ROW = SegmentationBenchmark("small", "three classes", list)
COUNT = 7


class Stopping(ThresholdSegmenter):
    """Ends the process, or raises, when it is asked for more than ``left`` images."""

    def __init__(self, left: int, kill: bool = False) -> None:
        self.left = left
        self.kill = kill
        self.seen = 0

    def encode(self, image: np.ndarray) -> np.ndarray:
        if self.seen == self.left:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        self.seen += 1
        return image


def score(work_dir: Path, segmenter: ThresholdSegmenter | None = None, **options: object) -> EvalOutcome:
    settings = EvalOptions(**{"presence": 1, "keep_worst": 3, "save_every_s": 0.0, **options})
    return run_eval_loop(
        segmenter or ThresholdSegmenter(), small_bank(), SmallImages.dataset(COUNT), ROW,
        work_dir=work_dir, options=settings,
    )  # fmt: skip


def assert_same(found: EvalOutcome, expected: EvalOutcome) -> None:
    assert found.scores == pytest.approx(dict(expected.scores), abs=1e-12, nan_ok=True)
    for name, tensor in expected.state.tensors().items():
        assert torch.allclose(found.state.tensors()[name].double(), tensor.double(), rtol=0, atol=1e-12), name


def test_an_interrupted_run_goes_on_with_the_images_that_are_left(tmp_path: Path) -> None:
    whole = score(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "broken", Stopping(3))
    rest = Stopping(COUNT)
    found = score(tmp_path / "broken", rest)
    assert rest.seen == COUNT - 3 and found.resumed == 3 and found.finished
    assert_same(found, whole)


def test_a_killed_process_loses_nothing_that_was_noted(tmp_path: Path) -> None:
    def run() -> None:
        torch.set_num_threads(1)
        score(tmp_path / "killed", Stopping(4, kill=True))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    rest = Stopping(COUNT)
    found = score(tmp_path / "killed", rest)
    assert rest.seen == COUNT - 4
    assert_same(found, score(tmp_path / "whole"))


def test_a_finished_run_that_was_not_stored_is_not_made_again(tmp_path: Path) -> None:
    first = score(tmp_path)
    again = score(tmp_path, Stopping(0))
    assert again.resumed == COUNT
    assert_same(again, first)
    first.progress.clear()
    assert score(tmp_path).resumed == 0


def test_shards_add_up_in_any_order(tmp_path: Path) -> None:
    whole = score(tmp_path / "whole")
    third = score(tmp_path / "parts", shard=Shard(3, 3))
    assert not third.finished and int(third.state.done.sum()) == 2
    assert not score(tmp_path / "parts", shard=Shard(1, 3)).finished
    last = score(tmp_path / "parts", shard=Shard.parse("2/3"))
    assert last.finished
    assert_same(last, whole)


def test_other_settings_do_not_take_up_each_others_progress(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path, Stopping(3))
    assert score(tmp_path, presence=2).resumed == 0
    assert settings_digest({"a": 1, "b": 2}) == settings_digest({"b": 2, "a": 1})


def test_damaged_notes_are_named(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path, Stopping(3))
    (part,) = tmp_path.glob("progress-*/part-*")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ValueError, match="to score all images again"):
        score(tmp_path)


def test_the_same_image_in_two_parts_is_refused(tmp_path: Path) -> None:
    for _ in range(2):
        state = EvaluationState(4, 3)
        state.update(1, np.zeros((2, 2), int), np.zeros((2, 2), int))
        ProgressFolder(tmp_path, "digest").save(state, now=True)
    with pytest.raises(ValueError, match="image 1 is counted twice"):
        ProgressFolder(tmp_path, "digest").add_to(EvaluationState(4, 3))
    with pytest.raises(ValueError, match="do not fit"):
        ProgressFolder(tmp_path, "digest").add_to(EvaluationState(5, 3))
    with pytest.raises(ValueError, match="already"):
        state.update(1, np.zeros((2, 2), int), np.zeros((2, 2), int))


def test_predictions_are_stored_by_name(tmp_path: Path) -> None:
    score(tmp_path, predictions=tmp_path / "labels")
    source, segmenter = SmallImages(COUNT), ThresholdSegmenter()
    for index in range(COUNT):
        item = source[index]
        stored = read_annotation(tmp_path / "labels" / f"{item.name}.png")
        assert np.array_equal(stored, segmenter.segment(item.image, small_bank()).labels.numpy())


def test_worst_images_are_those_with_the_lowest_miou(tmp_path: Path) -> None:
    found = score(tmp_path).state.worst
    own = []
    for index in range(COUNT):
        item = SmallImages(COUNT)[index]
        state = EvaluationState(1, 3)
        state.update(0, ThresholdSegmenter().segment(item.image, small_bank()).labels, item.labels)
        own.append((state.scores()["mIoU"], float(index)))
    assert np.allclose(found.numpy(), np.array(sorted(own)[:3]))


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b", "1/0"])
def test_bad_shards_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="i/n"):
        Shard.parse(text)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="presence must not be negative"):
        EvalOptions(presence=-1)
