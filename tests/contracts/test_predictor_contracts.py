"""What the predictor of every method of every task keeps to; a method is tested here by having a config.

The shipped weights answer, so that ties are as rare as in use.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ovperc
from helpers.pictures import blobs
from ovperc.cli.main import main
from ovperc.tasks.methods import load_method
from ovperc.tasks.prediction import Prediction
from ovperc.tasks.predictor import Predictor
from ovperc.tasks.table import TASKS

METHODS = ovperc.list_methods()
TASK_OF = {method: task for task in TASKS for method in ovperc.list_methods(task)}
IMAGES = [blobs((48, 64), seed=0), blobs((61, 45), seed=1), blobs((48, 64), seed=2)]
NORMAL = [blobs((48, 64), seed) for seed in (3, 4)]
WORDS = {
    "segmentation": ("brick, red star, grass", "sky, plain blue circle"),
    "detection": ("red star, plain blue circle", "striped green ring"),
    "panoptic": ("red star, plain blue circle", "striped green ring"),
    "anomaly": ("metal nut", "tile"),
}
OPTIONS = {"panoptic": {"stuff": "brick, grass"}}
ANSWER = {"segmentation": "labels", "detection": "boxes", "panoptic": "ids", "anomaly": "map"}
PRECISE = {"segmentation": {"confidence": True}, "anomaly": {"exact": True}}


@functools.cache
def predictor_of(method: str) -> Predictor:
    """The method on its shipped weights; few-shot methods remember two normal images."""
    predictor = ovperc.load(method)
    return predictor.fit(NORMAL) if needs_normal_images(predictor) else predictor


@functools.cache
def answer(method: str, image: int, words: int) -> Prediction:
    """The prediction of one image by itself, before anything else is asked."""
    return predictor_of(method).predict(IMAGES[image], words_of(method)[words], **options_of(method))


def needs_normal_images(predictor: Any) -> bool:
    return TASK_OF[predictor.info.method] == "anomaly" and predictor.head.needs_fit


def words_of(method: str) -> tuple[str, str]:
    return WORDS[TASK_OF[method]]


def options_of(method: str) -> dict[str, str]:
    return OPTIONS.get(TASK_OF[method], {})


def assert_same(first: Prediction, second: Prediction, atol: float = 0.0) -> None:
    """Two predictions agree in every field but the name of the image; with ``atol``, 1 in 200 labels may be a tie."""
    assert type(first) is type(second)
    for field in dataclasses.fields(first):
        left, right = getattr(first, field.name), getattr(second, field.name)
        if field.name == "source":
            continue
        if isinstance(left, np.ndarray) and left.dtype.kind != "f":
            assert left.shape == right.shape, field.name
            assert np.mean(left != right) <= (0.005 if atol else 0.0), field.name
        elif isinstance(left, (np.ndarray, float)):
            np.testing.assert_allclose(left, right, rtol=0, atol=atol, err_msg=field.name)
        else:
            assert_close(as_json(left), as_json(right), atol, field.name)


def assert_close(left: Any, right: Any, atol: float, name: str) -> None:
    """Equal JSON values, but for numbers that differ by ``atol``."""
    if isinstance(left, list) and isinstance(right, list):
        assert len(left) == len(right), name
        for one, other in zip(left, right, strict=True):
            assert_close(one, other, atol, name)
    elif isinstance(left, dict) and isinstance(right, dict):
        assert_close(sorted(left), sorted(right), atol, name)
        assert_close([left[key] for key in sorted(left)], [right[key] for key in sorted(right)], atol, name)
    elif isinstance(left, float) and isinstance(right, float):
        assert abs(left - right) <= atol, name
    else:
        assert left == right, name


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=dataclasses.asdict))


def test_every_method_belongs_to_one_task() -> None:
    assert sorted(itertools.chain.from_iterable(map(ovperc.list_methods, TASKS))) == sorted(METHODS)
    assert TASK_OF.keys() == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_listed_with_a_title(method: str) -> None:
    assert load_method(method).title.count(" ") > 2
    assert predictor_of(method).info.method == method


@pytest.mark.parametrize("method", METHODS)
def test_predictions_load_as_they_were_saved(method: str, tmp_path: Path) -> None:
    task = TASK_OF[method]
    prediction = answer(method, 1, 0)
    assert prediction.size_hw == IMAGES[1].shape[:2]
    loaded = load_after_save(prediction, tmp_path / "first", task)
    assert_same(prediction, loaded, atol=1e-3)
    assert_same(loaded, load_after_save(loaded, tmp_path / "second", task))
    assert loaded.source == prediction.source
    assert len(loaded.summary().splitlines()) == 1


def load_after_save(prediction: Prediction, stem: Path, task: str) -> Prediction:
    files = prediction.save(stem, **PRECISE.get(task, {}))
    assert all(file.is_file() for file in files)
    return type(prediction).load(stem)


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_order_and_earlier_calls_do_not_matter(method: str) -> None:
    predictor, words, options = predictor_of(method), words_of(method)[0], options_of(method)
    first, second = answer(method, 0, 0), answer(method, 1, 0)
    again = predictor.predict([IMAGES[1], IMAGES[0]], words, **options)
    assert_same(second, again[0])
    assert_same(first, again[1])
    assert_same(first, predictor.predict_batch([IMAGES[0], IMAGES[2]], words, **options)[0], atol=1e-3)
    assert_same(second, predictor.predict_batch(IMAGES[1:], words, **options)[0], atol=1e-3)
    assert_same(first, predictor.predict_encoded(predictor.encode(IMAGES[0]), words, **options))


@pytest.mark.parametrize("method", METHODS)
def test_an_unreadable_image_does_not_stop_the_others(method: str, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = [tmp_path / "broken.png", IMAGES[1]]
    broken, good = predictor_of(method).predict_each(images, words_of(method)[0], **options_of(method))
    assert broken.prediction is None
    assert "broken.png" in str(broken.error)
    assert_same(answer(method, 1, 0), good.prediction)


@pytest.mark.parametrize("method", METHODS)
def test_two_threads_answer_as_one(method: str) -> None:
    predictor = predictor_of(method)
    jobs = [(0, 0), (1, 1)]
    serial = [answer(method, *job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        threaded = pool.map(
            lambda job: predictor.predict(IMAGES[job[0]], words_of(method)[job[1]], **options_of(method)), jobs * 2
        )
        for expected, found in zip(serial * 2, threaded, strict=True):
            assert_same(expected, found)


@pytest.mark.parametrize("method", METHODS)
def test_command_line_writes_what_python_predicts(method: str, tmp_path: Path) -> None:
    task = TASK_OF[method]
    photo = tmp_path / "photo.png"
    Image.fromarray(IMAGES[0]).save(photo)
    command = ["predict", str(photo), "--method", method, "--out", str(tmp_path / "out")]
    command += ["--object" if task == "anomaly" else "--words", words_of(method)[0]]
    for name, value in options_of(method).items():
        command += [f"--{name}", value]
    if needs_normal_images(predictor_of(method)):
        command += ["--normal", str(write_normal_images(tmp_path / "normal"))]
    assert main(command) == 0
    written = TASKS[task].prediction_class().load(tmp_path / "out" / "photo")
    assert (written.method, written.source) == (method, str(photo))
    expected, found = (getattr(made, ANSWER[task]) for made in (answer(method, 0, 0), written))
    assert len(found)
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-3)


def write_normal_images(folder: Path) -> Path:
    folder.mkdir()
    for index, image in enumerate(NORMAL):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder
