"""Random views of photographs."""

import numpy as np
import pytest

from ovperc.data.photo.views import IGNORED, ViewStyle, random_view

PLAIN = ViewStyle(scale=(0.5, 1.6), jitter=0.0, grey=0.0)


def _picture() -> tuple[np.ndarray, np.ndarray]:
    """Four quarters, each of one colour and one class."""
    labels = np.zeros((60, 80), np.uint8)
    labels[30:] += 1
    labels[:, 40:] += 2
    return np.repeat(40 + 50 * labels[..., None], 3, axis=2), labels


def test_labels_move_with_the_pixels() -> None:
    image, labels = _picture()
    for seed in range(20):
        view, seen = random_view(image, labels, 48, PLAIN, np.random.default_rng(seed))
        assert view.shape == (48, 48, 3) and seen.shape == (48, 48)
        inside = seen != IGNORED
        expected = np.where(inside, 40 + 50 * seen.astype(int), 127)
        assert np.mean(np.abs(view[..., 0].astype(int) - expected) < 4) > 0.85  # all but the borders


def test_the_outside_has_no_label() -> None:
    image, labels = _picture()
    _, seen = random_view(image, labels, 48, ViewStyle(scale=(2.0, 2.0)), np.random.default_rng(0))
    assert (seen == IGNORED).mean() > 0.5


@pytest.mark.parametrize("style", [PLAIN, ViewStyle()])
def test_the_generator_decides(style: ViewStyle) -> None:
    image, _ = _picture()
    first, second, third = (random_view(image, None, 32, style, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()
