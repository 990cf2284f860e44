"""Panels of the worst images and the HTML report of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ovperc.core.atomic import atomic_write
from ovperc.core.structures import TextBank
from ovperc.core.summary import RunSummary
from ovperc.data.segmentation.benchmark import SegmentationBenchmark
from ovperc.data.segmentation.dataset import LabelledImages
from ovperc.evaluation.metrics import SEGMENTATION_TITLES
from ovperc.evaluation.metrics.segmentation_counts import SegmentationCounts
from ovperc.viz.gallery import WorstImage, largest_confusion, write_gallery
from ovperc.viz.panels import evaluation_panel


def write_report(
    work_dir: Path,
    summary: RunSummary,
    segment: Callable[[np.ndarray], np.ndarray],
    images: LabelledImages,
    row: SegmentationBenchmark,
    bank: TextBank,
    counts: SegmentationCounts,
) -> None:
    """Writes ``report.html`` and ``panels/NAME.png`` into the work dir; the worst images are segmented again."""
    worst = []
    for score, index in counts.worst:
        item = images[index]
        prediction = segment(item.image)
        picture = evaluation_panel(
            item.image, item.labels, prediction, bank.names, row.ignore_index, bank.background.enabled
        )
        with atomic_write(work_dir / "panels" / f"{item.name}.png") as (temporary,):
            picture.save(temporary)
        note = largest_confusion(item.labels, prediction, bank.names, row.ignore_index)
        worst.append(WorstImage(item.name, score, picture, note))
    settings = summary.settings
    shown = {"weights": Path(str(settings["weights"])).name, "images": settings["images"]}
    if summary.commit:
        shown["commit"] = summary.commit[:9]
    shown["config"] = settings["config"][:9]
    write_gallery(
        work_dir / "report.html",
        f"{settings['method']} on {settings['benchmark']}",
        {title: summary.metrics[name] for name, title in SEGMENTATION_TITLES.items() if name in summary.metrics},
        bank.names,
        counts.matrix.iou().numpy(),
        counts.matrix.counts[:, : len(bank.names)].numpy(),
        worst,
        shown,
    )
