"""Eight threads on one predictor and many vocabularies: every answer is that of a single call."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ovperc
from helpers.pictures import blobs

NAMES = ("red star", "grass", "brick", "plain blue circle", "sky")
VOCABULARIES = [", ".join(pair) for pair in itertools.permutations(NAMES, 2)][:12]
OBJECTS = ["metal nut", "tile", "wood", "cable"]
FIELDS = {"maskclip": "confidence", "fvlm": "scores", "winclip": "map", "panoptic_maskclip": "ids"}
IMAGE = blobs((32, 40), seed=0)


@pytest.mark.parametrize("method", FIELDS)
def test_answers_are_those_of_single_calls(method):
    words = OBJECTS if method == "winclip" else VOCABULARIES
    predictor, shared = ovperc.load(method), ovperc.load(method)
    encoded = predictor.encode(IMAGE)
    expected = [predictor.answer(encoded, predictor.query(word)) for word in words]
    order = [*range(len(words)), *reversed(range(len(words)))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(8) as pool:
            again = list(pool.map(shared.encode, [IMAGE] * 8))
            found = list(pool.map(lambda at: shared.answer(again[at % 8], shared.query(words[at])), order))
    finally:
        sys.setswitchinterval(interval)
    for at, prediction in zip(order, found, strict=True):
        assert getattr(prediction, "names", None) == getattr(expected[at], "names", None), words[at]
        np.testing.assert_allclose(
            getattr(prediction, FIELDS[method]), getattr(expected[at], FIELDS[method]), rtol=0, atol=1e-5
        )
