"""Pictures: what is in them, at every size."""

import numpy as np
import pytest
from PIL import Image

from ovperc.viz.draw import draw_segmentation, heat_map, overlay, panel
from ovperc.viz.legend import LegendEntry, largest_entries, legend_below, legend_beside
from ovperc.viz.palette import heat_colours, palette
from ovperc.viz.text import shorten, text_width_px

RNG = np.random.default_rng(0)


def scene(height, width, classes):
    labels = (np.arange(width) * classes // width)[None].repeat(height, axis=0)
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8), labels


def has_colour(picture, colour):
    return (np.asarray(picture) == colour).all(axis=-1)


def test_overlay_is_the_written_mixture():
    image, labels = scene(6, 8, 2)
    colours = palette(2)
    result = overlay(image, labels, colours, alpha=0.3, border_px=0)
    grey = (image.astype(float) @ [0.299, 0.587, 0.114])[:, :, None]
    expected = 0.7 * (0.5 * image + 0.5 * grey) + 0.3 * colours[labels]
    assert np.abs(result - expected).max() <= 0.51
    assert np.array_equal(overlay(image, labels, colours, alpha=1.0), colours[labels])


@pytest.mark.parametrize("border_px", [1, 2, 3])
def test_borders_have_the_full_colour_of_their_side(border_px):
    image, labels = scene(10, 20, 2)
    colours = palette(2)
    result = overlay(image, labels, colours, alpha=0.2, border_px=border_px)
    plain = overlay(image, labels, colours, alpha=0.2, border_px=0)
    near = np.abs(np.arange(20) - 9.5) < border_px
    assert np.array_equal(result[:, near], colours[labels][:, near])
    assert np.array_equal(result[:, ~near], plain[:, ~near])


def test_overlay_leaves_its_inputs_alone():
    image, labels = scene(6, 8, 2)
    before = image.copy()
    overlay(image, labels, palette(2))
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    ("size_hw", "classes"),
    [((1, 1), 1), ((5, 7), 3), ((112, 112), 6), ((480, 640), 12), ((600, 40), 4), ((30, 700), 30), ((900, 1600), 3)],
)
@pytest.mark.parametrize("side_by_side", [False, True])
def test_pictures_of_every_size_hold_overlay_and_legend(size_hw, classes, side_by_side):
    image, labels = scene(*size_hw, classes)
    names = [f"class {label}" for label in range(classes)]
    colours = palette(classes)
    picture = draw_segmentation(image, labels, names, colours, side_by_side=side_by_side)
    bare = draw_segmentation(image, labels, names, colours, side_by_side=side_by_side, legend=False)
    assert max(bare.size) >= 300 and max(size_hw) / 448 * max(bare.size) >= 0.6 * max(size_hw)
    assert np.array_equal(np.asarray(picture)[: bare.height, : bare.width], np.asarray(bare))
    paper = np.asarray(picture).copy()
    paper[: bare.height, : bare.width] = 0
    for label in range(min(classes, 3)):
        assert has_colour(paper, colours[label]).sum() > 100


def test_legend_lists_the_largest_and_sums_up_the_rest():
    entries = [LegendEntry(f"c{i}", fraction, (i, i, i)) for i, fraction in enumerate([0.1, 0.4, 0.0, 0.2, 0.3])]
    assert [entry.name for entry in largest_entries(entries, 9)] == ["c1", "c4", "c3", "c0"]
    shown = largest_entries(entries, 3)
    assert [entry.name for entry in shown] == ["c1", "c4", "+2 more"]
    assert shown[-1].fraction == pytest.approx(0.3) and shown[-1].rgb is None


def test_legend_reads_on_its_own_light_paper_and_stays_small():
    entries = [LegendEntry("a very long name " * 20, 0.5, (255, 0, 0)), LegendEntry("дом", 0.5, (0, 0, 255))]
    beside, below = legend_beside(entries, 100, 14), legend_below(entries, 300, 14)
    assert beside.height == 100 and beside.width < 400 and below.width == 300
    for paper in (beside, below):
        levels = np.asarray(paper.convert("L"))
        assert np.median(levels) > 245 and levels.min() < 60


def test_many_classes_do_not_outgrow_the_picture():
    image, labels = scene(480, 640, 300)
    picture = draw_segmentation(image, labels, [f"class {i}" for i in range(300)], palette(300))
    assert picture.height == 480 and picture.width < 1000


def test_long_names_keep_both_ends():
    short = shorten("building, edifice with a tower", 100, 14)
    assert text_width_px(short, 14) <= 100
    assert short.startswith("buil") and short.endswith("wer") and "..." in short
    assert shorten("sky", 100, 14) == "sky"


def test_heat_map_uses_its_fixed_scale():
    values = np.linspace(-1, 3, 448 * 448, dtype=np.float32).reshape(448, 448)
    picture = np.asarray(heat_map(values, 0.0, 2.0, "score"))
    expected = heat_colours(np.clip(values / 2, 0, 1))
    assert np.array_equal(picture[:448, :448], expected)
    assert picture.shape[1] > 448
    half = np.asarray(heat_map(values / 2, 0.0, 2.0))[:448, :448]
    assert not np.array_equal(half, expected)
    image, _ = scene(448, 448, 1)
    over = np.asarray(heat_map(values, 0.0, 2.0, image=image, alpha=1.0))[:448, :448]
    assert np.array_equal(over, expected)


def test_panel_keeps_every_image():
    one, two = scene(30, 40, 1)[0], scene(50, 20, 1)[0]
    paper = np.asarray(panel([one, Image.fromarray(two)], gap_px=5))
    assert paper.shape == (50, 65, 3)
    assert np.array_equal(paper[:30, :40], one) and np.array_equal(paper[:, 45:], two)
    titled = np.asarray(panel([one, two], titles=["image", "Ergebnis ü"], gap_px=5))
    assert np.array_equal(titled[-50:-20, :40], one)


def test_errors():
    image, labels = scene(6, 8, 2)
    with pytest.raises(ValueError, match="must have the same size"):
        overlay(image[:4], labels, palette(2))
    with pytest.raises(ValueError, match="alpha"):
        overlay(image, labels, palette(2), alpha=2)
    with pytest.raises(ValueError, match="max_classes"):
        draw_segmentation(image, labels, ["a", "b"], palette(2), max_classes=0)
    with pytest.raises(ValueError, match="low must be less than high"):
        heat_map(np.zeros((4, 4)), 1.0, 1.0)
    with pytest.raises(ValueError, match="finite"):
        heat_map(np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="same size"):
        heat_map(np.zeros((4, 4)), image=image)
    with pytest.raises(ValueError, match="at least one image"):
        panel([])
    with pytest.raises(ValueError, match="one title per image"):
        panel([image], titles=["a", "b"])
