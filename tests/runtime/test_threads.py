"""Exported models shared by threads, copied into processes, and called in any order."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks.foundation import random_image
from ovperc import runtime

VOCABULARIES = ("grass, brick", "red star|ruby, grass", "sky, sea, sand, brick", "one", "brick, a wheel, grass|lawn")


def _digest(prediction) -> tuple:
    return prediction.names, prediction.labels.tobytes(), prediction.confidence.tobytes()


def test_threads_with_words_of_their_own_answer_as_one_does(folder) -> None:
    """8 threads x 5 vocabularies, bit for bit; the default vocabulary stays."""
    images = [random_image((33, 47), seed) for seed in range(2)]
    jobs = [(image, words) for image in images for words in VOCABULARIES]
    serial = runtime.load(folder, threads=1)
    expected = [_digest(serial.predict(image, words, background=0.2)) for image, words in jobs]
    shared = runtime.load(folder, threads=1)
    shared.set_words("default")
    with ThreadPoolExecutor(8) as pool:
        order = [index for repeat in range(4) for index in range(len(jobs))]
        found = list(pool.map(lambda index: _digest(shared.predict(*jobs[index], background=0.2)), order))
    assert all(answer == expected[index] for index, answer in zip(order, found, strict=True))
    assert shared.names == ("default",)


def test_a_default_changes_between_calls_never_within_one(model) -> None:
    """Labels, confidence and names of a prediction belong to one vocabulary."""
    image = random_image((33, 47))
    expected = {_digest(model.predict(image, words)) for words in VOCABULARIES}
    model.set_words(VOCABULARIES[0])
    with ThreadPoolExecutor(8) as pool:
        changes = [pool.submit(model.set_words, words) for words in VOCABULARIES * 4]
        found = [pool.submit(lambda: _digest(model.predict(image))) for _ in range(24)]
        assert {future.result() for future in found} <= expected
        assert all(future.result().names for future in changes)


def test_words_do_not_depend_on_what_was_embedded_before(folder) -> None:
    first, second = (runtime.load(folder, threads=1) for _ in range(2))
    second.set_words("antidisestablishmentarianism, sea, grass|lawn")
    assert (first.bank("grass, sky").embeddings == second.bank("grass, sky").embeddings).all()


def test_a_batch_equals_its_images_bit_for_bit(model) -> None:
    images = [random_image((33, 47), seed) for seed in range(3)]
    batch = model.predict_batch(images, "grass, brick")
    assert [_digest(p) for p in batch] == [_digest(model.predict(image, "grass, brick")) for image in images]


def test_pickles_by_its_folder(model, tmp_path) -> None:
    model.set_words("grass, brick", background=0.1)
    copied = pickle.loads(pickle.dumps(model))
    image = random_image((33, 47))
    assert _digest(copied.predict(image)) == _digest(model.predict(image))
    assert len(pickle.dumps(model)) < 20_000
    with pytest.raises(ValueError, match="no words are set"):
        pickle.loads(pickle.dumps(runtime.load(model.folder, threads=1))).predict(np.zeros((9, 9, 3), np.uint8))
