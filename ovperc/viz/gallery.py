"""HTML report of an evaluation: metrics, per-class IoU, confusion matrix and the worst images, in a single file."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ovperc.core.atomic import atomic_write
from ovperc.viz.confusion import confusion_heat_map

_STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfc; --ink: #1e1e1e; --faint: #6a6a6a; --line: #d8d8d8; --bar: #2f7fe0; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --ink: #e8e8e8; --faint: #9a9a9a; --line: #3a3d44; --bar: #5aa0ff; }
}
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 1400px; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
.faint { color: var(--faint); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.2rem 0; }
.figures div { min-width: 6rem; } .figures b { display: block; font-size: 1.5rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; } th { font-weight: 600; border-bottom: 1px solid var(--line); }
.classes { columns: 24rem; column-gap: 2.5rem; } .class { display: grid; break-inside: avoid;
  grid-template-columns: 1fr 9rem 3.4rem; gap: .6rem; align-items: center; }
.class span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.class span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.bar { background: var(--line); height: .55rem; border-radius: .3rem; overflow: hidden; }
.bar i { display: block; background: var(--bar); height: 100%; }
img { max-width: 100%; height: auto; border-radius: 4px; } figure { margin: 1.4rem 0; }
"""


@dataclass(frozen=True)
class WorstImage:
    """An image of the gallery.

    Attributes:
        name: name of the image.
        score: mIoU of the image in percent.
        picture: panel of the image.
        note: description of its largest confusion.
    """

    name: str
    score: float
    picture: Image.Image
    note: str = ""


def write_gallery(
    path: str | Path,
    title: str,
    figures: Mapping[str, float],
    names: Sequence[str],
    iou: np.ndarray,
    counts: np.ndarray,
    worst: Sequence[WorstImage] = (),
    settings: Mapping[str, object] | None = None,
) -> None:
    """Writes the self-contained report page.

    Args:
        path: ``.html`` file.
        title: page title, such as method and benchmark.
        figures: headline metrics, name -> value.
        names: label -> name.
        iou: ``(C,)`` in ``[0, 1]``; NaN for absent classes.
        counts: ``(C, C)`` confusion matrix, true by predicted class.
        worst: images with the lowest scores.
        settings: settings of the run.
    """
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _settings(settings or {}),
        _figures(figures),
        "<h2>Classes by IoU</h2>",
        _classes(names, iou),
        "<h2>Confusion matrix</h2>",
        '<p class="faint">Rows are true classes, in percent of their pixels; the diagonal is recall.</p>',
        f"<p>{_image(confusion_heat_map(counts, names), 'confusion matrix')}</p>",
    ]
    if worst:
        parts.append(f"<h2>The {len(worst)} images with the lowest mIoU</h2>")
        parts += [_worst(image) for image in worst]
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
    )
    with atomic_write(path) as (temporary,):
        temporary.write_text("\n".join([head, *parts, "</body></html>\n"]), encoding="utf-8")


def largest_confusion(target: np.ndarray, prediction: np.ndarray, names: Sequence[str], ignore_index: int) -> str:
    """The most frequent confusion, as ``"grass predicted as tree: 12% of the pixels"``; empty if there is none."""
    wrong = (target != ignore_index) & (target != prediction)
    if not wrong.any():
        return ""
    codes = target[wrong].astype(np.int64) * len(names) + prediction[wrong].astype(np.int64)
    values, sizes = np.unique(codes, return_counts=True)
    true, taken = divmod(int(values[sizes.argmax()]), len(names))
    share = 100 * sizes.max() / max(1, (target != ignore_index).sum())
    return f"{names[true]} predicted as {names[taken]}: {share:.0f}% of the pixels"


def _settings(settings: Mapping[str, object]) -> str:
    shown = " · ".join(f"{html.escape(str(key))} {html.escape(str(value))}" for key, value in settings.items())
    return f'<p class="faint">{shown}</p>'


def _figures(figures: Mapping[str, float]) -> str:
    cells = [f"<div><b>{_number(value)}</b>{html.escape(name)}</div>" for name, value in figures.items()]
    return f'<div class="figures">{"".join(cells)}</div>'


def _classes(names: Sequence[str], iou: np.ndarray) -> str:
    """Sorted worst first; absent classes last."""
    order = sorted(range(len(names)), key=lambda label: (math.isnan(iou[label]), iou[label]))
    rows = []
    for label in order:
        value = float(iou[label])
        width = 0 if math.isnan(value) else 100 * value
        rows.append(
            f'<div class="class"><span title="{html.escape(names[label])}">{html.escape(names[label])}</span>'
            f'<div class="bar"><i style="width:{width:.1f}%"></i></div><span>{_number(100 * value)}</span></div>'
        )
    return f'<div class="classes">{"".join(rows)}</div>'


def _worst(image: WorstImage) -> str:
    note = f" · {html.escape(image.note)}" if image.note else ""
    caption = f"<b>{html.escape(image.name)}</b> · mIoU {_number(image.score)}{note}"
    return f"<figure><figcaption>{caption}</figcaption>{_image(image.picture, image.name, 'JPEG')}</figure>"


def _image(picture: Image.Image, alt: str, kind: str = "PNG") -> str:
    stream = io.BytesIO()
    picture.save(stream, kind, **({"quality": 88} if kind == "JPEG" else {"optimize": True}))
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img alt="{html.escape(alt)}" src="data:image/{kind.lower()};base64,{data}">'


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"
