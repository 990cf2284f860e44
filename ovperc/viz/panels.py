"""Panel of an evaluated image: image, ground truth, prediction and error map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ovperc.viz.draw import draw_segmentation, panel
from ovperc.viz.legend import PAPER_RGB, LegendEntry, legend_below
from ovperc.viz.palette import channels, palette

_VOID_RGB = (40, 40, 40)
# Correct, wrong, ignored: also distinguishable in greyscale, as light, medium and dark.
_ERROR_RGB = np.array([(236, 238, 242), (214, 40, 40), _VOID_RGB], dtype=np.uint8)
_MAX_LEGEND_LINES = 18


def evaluation_panel(
    image: np.ndarray,
    target: np.ndarray,
    prediction: np.ndarray,
    names: Sequence[str],
    ignore_index: int = 255,
    background: bool = False,
) -> Image.Image:
    """Image, ground truth, prediction and error map side by side, with a legend below.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        target: ``(H, W)`` integer labels, or ``ignore_index``, which is drawn dark.
        prediction: ``(H, W)`` integer labels.
        names: label -> name.
        ignore_index: label of ignored pixels.
        background: whether label 0 is background.
    """
    void_label = len(names)
    void = target == ignore_index
    colours = np.concatenate([palette(len(names), background), [np.array(_VOID_RGB, dtype=np.uint8)]])
    all_names = [*names, "not evaluated"]
    true = np.where(void, void_label, target).astype(np.int64)
    predicted = prediction.astype(np.int64)
    error = np.where(void, 2, predicted != true).astype(np.int64)
    counted = max(1, int((~void).sum()))
    wrong = 100.0 * float((error == 1).sum()) / counted
    tiles = [
        draw_segmentation(image, np.zeros_like(true), [""], np.zeros((1, 3), np.uint8), alpha=0.0, legend=False),
        draw_segmentation(image, true, all_names, colours, alpha=0.7, legend=False),
        draw_segmentation(image, predicted, all_names, colours, alpha=0.7, legend=False),
        draw_segmentation(image, error, ["right", "wrong", "void"], _ERROR_RGB, alpha=0.8, legend=False),
    ]
    tiles[0] = Image.fromarray(image).resize(tiles[0].size, Image.Resampling.BICUBIC)
    row = panel(tiles, titles=["image", "truth", "prediction", f"wrong: {wrong:.1f}%"])
    return _with_legend(row, true, predicted, all_names, colours)


def _with_legend(
    row: Image.Image, true: np.ndarray, predicted: np.ndarray, names: Sequence[str], colours: np.ndarray
) -> Image.Image:
    """Classes of ground truth and prediction, sorted by the larger of their two areas."""
    shares = [np.bincount(labels.ravel(), minlength=len(names)) / labels.size for labels in (true, predicted)]
    share = np.maximum(*shares)
    entries = [
        LegendEntry(names[label], float(share[label]), channels(colours[label]))
        for label in np.flatnonzero(share).tolist()
    ]
    legend = legend_below(entries, row.width, max(14, row.width // 110), _MAX_LEGEND_LINES)
    paper = Image.new("RGB", (row.width, row.height + legend.height), PAPER_RGB)
    paper.paste(row, (0, 0))
    paper.paste(legend, (0, row.height))
    return paper
