"""The table of output formats; a new one is a file beside this and a row here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ovperc.core.naming import suggest
from ovperc.io.writers.base import OutputSettings, Writer
from ovperc.io.writers.coco import CocoWriter
from ovperc.io.writers.coco_panoptic import CocoPanopticWriter
from ovperc.io.writers.labelme import LabelMeWriter
from ovperc.io.writers.native import ExactMapWriter, NativeWriter, PictureWriter
from ovperc.io.writers.scores import ScoresWriter
from ovperc.io.writers.yolo import YoloOutlineWriter, YoloWriter


@dataclass(frozen=True)
class OutputFormat:
    """A format of ``ovperc predict --format``.

    Attributes:
        name: on the command line.
        title: what it writes.
        writer: of it.
        tasks: that have it; empty for every task.
        default: whether it is written where the user names no format.
    """

    name: str
    title: str
    writer: type[Writer]
    tasks: tuple[str, ...] = ()
    default: bool = False

    def fits(self, task: str) -> bool:
        """Whether a task has it."""
        return not self.tasks or task in self.tasks


FORMATS: Mapping[str, OutputFormat] = {
    row.name: row
    for row in (
        OutputFormat("native", "what predictions are loaded from", NativeWriter, default=True),
        OutputFormat("picture", "the prediction drawn on the image", PictureWriter, default=True),
        OutputFormat("scores", "scores.csv, a row per image", ScoresWriter, ("anomaly",), default=True),
        OutputFormat("coco", "coco.json with boxes and run-length masks", CocoWriter),
        OutputFormat(
            "coco-panoptic", "panoptic.json with segments, panoptic/STEM.png", CocoPanopticWriter, ("panoptic",)
        ),
        OutputFormat("labelme", "STEM_labelme.json with outlines", LabelMeWriter),
        OutputFormat("yolo", "labels/STEM.txt with boxes, and data.yaml", YoloWriter),
        OutputFormat("yolo-seg", "labels/STEM.txt with outlines, and data.yaml", YoloOutlineWriter),
        OutputFormat("npy", "native, with the exact map STEM.npy instead of STEM.png", ExactMapWriter, ("anomaly",)),
    )
}


def choose_writers(names: str | None, task: str, settings: OutputSettings) -> dict[str, Writer]:
    """Writers of a run by format.

    Args:
        names: of formats, with commas between; None for the defaults of the task.
        task: of the method.
        settings: of the task's files.

    Raises:
        ValueError: an unknown format, or one that the task does not have.
    """
    offered = [row for row in FORMATS.values() if row.fits(task)]
    if names is None:
        return {row.name: row.writer(settings) for row in offered if row.default}
    known = [row.name for row in offered]
    chosen = dict.fromkeys(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in FORMATS:
            raise ValueError(f"unknown output format {name!r}; {suggest(name, known)}")
        if name not in known:
            raise ValueError(f"{task} methods have no output format {name!r}; they have {', '.join(known)}")
    return {name: FORMATS[name].writer(settings) for name in chosen}
