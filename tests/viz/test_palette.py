"""Colours: distinct, stable, and right at the ends."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from ovperc.viz.palette import BACKGROUND_RGB, heat_colours, hex_colour, palette


@pytest.mark.parametrize("count", [0, 1, 2, 12, 13, 256, 257, 1000])
def test_colours_do_not_depend_on_how_many_there_are(count):
    colours = palette(count)
    assert colours.shape == (count, 3) and colours.dtype == np.uint8
    assert np.array_equal(colours, palette(1000)[:count])
    assert len(np.unique(colours, axis=0)) >= (count if count <= 257 else 0.99 * count)


def test_background_is_grey_and_moves_the_classes_by_one():
    with_background = palette(300, background=True)
    assert tuple(with_background[0]) == BACKGROUND_RGB
    assert np.array_equal(with_background[1:], palette(299))
    assert palette(0, background=True).shape == (0, 3)


@pytest.mark.parametrize(("count", "at_least"), [(12, 25), (32, 17), (256, 4)])
def test_colours_are_apart_by_another_librarys_measure(count, at_least):
    lab = rgb2lab(palette(count + 1, background=True)[None] / 255)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e3 * np.eye(count + 1)
    assert distance.min() > at_least


def test_heat_rises_in_lightness_over_the_whole_scale():
    colours = heat_colours(np.linspace(0, 1, 50))
    lightness = rgb2lab(colours[None] / 255)[0, :, 0]
    assert (np.diff(lightness) > 0).all() and lightness[0] < 10 and lightness[-1] > 90
    assert heat_colours(np.zeros((4, 5))).shape == (4, 5, 3)


def test_hex_and_errors():
    assert hex_colour(np.array([255, 0, 10], np.uint8)) == "#ff000a"
    with pytest.raises(ValueError, match="negative"):
        palette(-1)
