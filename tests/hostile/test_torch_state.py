"""The caller's torch settings change no answer, or are refused; and images of any shape are answered."""

import numpy as np
import pytest
import torch

import ovperc
from helpers.pictures import blobs

METHODS = {
    "maskclip": "red star, grass",
    "trident": "red star, grass",
    "fvlm": "red star, grass",
    "winclip": "metal nut",
    "anomalyclip": "metal nut",
}
IMAGE = blobs((48, 64), seed=0)


def values(prediction) -> np.ndarray:
    for name in ("confidence", "scores", "map"):
        if getattr(prediction, name, None) is not None:
            return getattr(prediction, name)
    raise AssertionError(f"{type(prediction).__name__} has no scores")


@pytest.mark.parametrize("method", METHODS)
def test_an_autocast_around_the_call_changes_nothing(method):
    expected = values(ovperc.load(method).predict(IMAGE, METHODS[method]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictor = ovperc.load(method)
        found = values(predictor.predict(IMAGE, METHODS[method]))
        again = values(predictor.answer(predictor.encode(IMAGE), predictor.query(METHODS[method])))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_default_dtype_is_refused(dtype):
    predictor = ovperc.load("maskclip")
    torch.set_default_dtype(dtype)
    try:
        for call in (lambda: ovperc.load("maskclip"), lambda: predictor.predict(IMAGE, "red star")):
            with pytest.raises(RuntimeError, match=r"default dtype to be float32.*torch\.set_default_dtype"):
                call()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 1000), (1000, 1)])
def test_images_of_any_shape_are_answered(method, size_hw):
    prediction = ovperc.load(method).predict(np.zeros((*size_hw, 3), np.uint8), METHODS[method])
    assert prediction.size_hw == size_hw
