"""The pictures of a finished evaluation: panels of the worst images and the report page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ovperc.core.atomic import atomic_write
from ovperc.core.summary import RunSummary
from ovperc.data.benchmark import Benchmark
from ovperc.data.segmentation.dataset import SegmentationDataset
from ovperc.evaluation.metrics.evaluation_state import EvaluationState
from ovperc.viz.gallery import WorstImage, largest_confusion, write_gallery
from ovperc.viz.panels import evaluation_panel

if TYPE_CHECKING:
    from ovperc.core.structures import TextBank
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter

_FIGURES = {
    "mIoU": "mIoU",
    "mAcc": "mean accuracy",
    "aAcc": "pixel accuracy",
    "fwIoU": "frequency-weighted IoU",
    "bIoU": "boundary mIoU",
    "false_area": "false area (absent classes)",
    "presence_AUROC": "presence AUROC",
}


def write_report(
    work_dir: Path,
    summary: RunSummary,
    state: EvaluationState,
    segmenter: DenseSegmenter,
    bank: TextBank,
    dataset: SegmentationDataset,
    benchmark: Benchmark,
) -> None:
    """Writes ``report.html`` and ``panels/NAME.png`` into the work dir; the worst images are segmented once more."""
    worst = []
    for score, index in state.worst.tolist():
        item = dataset.source[int(index)]
        prediction = segmenter.segment(segmenter.encode(item.image), bank).labels.cpu().numpy()
        picture = evaluation_panel(
            item.image, item.labels, prediction, bank.names, benchmark.ignore_index, bank.background.enabled
        )
        with atomic_write(work_dir / "panels" / f"{item.name}.png") as (temporary,):
            picture.save(temporary)
        note = largest_confusion(item.labels, prediction, bank.names, benchmark.ignore_index)
        worst.append(WorstImage(item.name, score, picture, note))
    settings = summary.settings
    shown = {"weights": Path(str(settings["weights"])).name, "images": settings["images"]}
    if summary.commit:
        shown["commit"] = summary.commit[:9]
    shown["config"] = settings["config"][:9]
    write_gallery(
        work_dir / "report.html",
        f"{settings['method']} on {settings['benchmark']}",
        {title: summary.metrics[name] for name, title in _FIGURES.items() if name in summary.metrics},
        bank.names,
        state.matrix.iou().numpy(),
        state.matrix.counts[:, : len(bank.names)].numpy(),
        worst,
        shown,
    )
