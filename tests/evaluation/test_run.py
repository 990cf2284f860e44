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
from helpers.segmentation_run import SegmentationRun, score_segmenter
from ovperc.data.annotations import read_annotation
from ovperc.evaluation.metrics import ConfusionMatrix
from ovperc.evaluation.request import EvalOptions, Shard
from ovperc.evaluation.run import settings_digest
from ovperc.evaluation.store import PartStore, StoredResult

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


def score(work_dir: Path, segmenter: ThresholdSegmenter | None = None, **options: object) -> SegmentationRun:
    settings = {"presence": 1, "keep_worst": 3, "save_every_s": 0.0, **options}
    return score_segmenter(segmenter or ThresholdSegmenter(), small_bank(), SmallImages(COUNT), work_dir, **settings)


def assert_same(found: SegmentationRun, expected: SegmentationRun) -> None:
    assert found.scores == pytest.approx(dict(expected.scores), abs=1e-12, nan_ok=True)
    assert found.counts.worst == expected.counts.worst
    for ours, theirs in zip(found.counts.metrics, expected.counts.metrics, strict=True):
        assert torch.equal(ours.counts, theirs.counts)
    assert torch.equal(found.counts.presence.histograms, expected.counts.presence.histograms)
    assert torch.equal(found.counts.presence.area, expected.counts.presence.area)


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
    first.store.clear()
    assert score(tmp_path).resumed == 0


def test_shards_add_up_in_any_order(tmp_path: Path) -> None:
    whole = score(tmp_path / "whole")
    third = score(tmp_path / "parts", shard=Shard(3, 3))
    assert not third.finished and len(third.present) == 2
    assert not score(tmp_path / "parts", shard=Shard(1, 3)).finished
    last = score(tmp_path / "parts", shard=Shard.parse("2/3"))
    assert last.finished
    assert_same(last, whole)


def test_digests_of_settings_do_not_depend_on_their_order() -> None:
    assert settings_digest({"a": 1, "b": 2}) == settings_digest({"b": 2, "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})


def test_damaged_notes_are_named(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path, Stopping(3))
    part, *_ = tmp_path.glob("progress/part-*")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ValueError, match="to score all images again"):
        score(tmp_path)


def test_an_image_that_two_runs_scored_counts_once(tmp_path: Path) -> None:
    whole = score(tmp_path / "whole")
    for part in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(KeyboardInterrupt):
            score(part, Stopping(3))
    for path in (tmp_path / "b").rglob("part-*"):
        path.rename(tmp_path / "a" / "progress" / path.name)
    found = score(tmp_path / "a")
    assert found.resumed == 3
    assert_same(found, whole)


def test_store_keeps_arrays_and_rows_exactly(tmp_path: Path) -> None:
    store = PartStore(tmp_path, every_s=1000)
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(3, 4)).astype(np.float32).T
    arrays = {"grid": grid, "none": np.zeros((2, 0), np.int64), "bits": rng.random(3) > 0.5}
    store.add(3, StoredResult(arrays, {"x": [1.5, None, "ä"]}))
    store.add(11, StoredResult(row=0.1))
    assert 3 in store and 4 not in store and len(store) == 2
    assert store.load(11).row == 0.1, "what waits is there too"
    assert not list(tmp_path.iterdir())
    store.flush()
    store.flush()
    (part,) = tmp_path.iterdir()
    again = PartStore(tmp_path)
    found = again.load(3)
    assert found.row == {"x": [1.5, None, "ä"]} and set(found.arrays) == set(arrays)
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert [result.row for result in again.results([11, 3])] == [0.1, {"x": [1.5, None, "ä"]}]
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(ValueError, match="to score all images again"):
        PartStore(tmp_path)


def test_predictions_are_stored_by_name(tmp_path: Path) -> None:
    score(tmp_path, predictions=tmp_path / "labels")
    source, segmenter = SmallImages(COUNT), ThresholdSegmenter()
    for index in range(COUNT):
        item = source[index]
        stored = read_annotation(tmp_path / "labels" / f"{item.name}.png")
        assert np.array_equal(stored, segmenter.segment(item.image, small_bank()).labels.numpy())


def test_worst_images_are_those_with_the_lowest_miou(tmp_path: Path) -> None:
    found = score(tmp_path).counts.worst
    own = []
    for index in range(COUNT):
        item = SmallImages(COUNT)[index]
        matrix = ConfusionMatrix(3)
        matrix.update(ThresholdSegmenter().segment(item.image, small_bank()).labels, item.labels)
        own.append((matrix.scores()["mIoU"], index))
    assert np.allclose(found, sorted(own)[:3])


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b", "1/0"])
def test_bad_shards_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="i/n"):
        Shard.parse(text)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="presence must be non-negative"):
        EvalOptions(presence=-1)
