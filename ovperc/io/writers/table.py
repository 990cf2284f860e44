"""The table of output formats; a new format is a module in this package and a row here."""

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
    """An output format of ``ovperc predict --format``.

    Attributes:
        name: name on the command line.
        title: one-line description.
        writer: writer class.
        tasks: tasks that support it; empty for all.
        default: whether it is written when ``--format`` is not given.
    """

    name: str
    title: str
    writer: type[Writer]
    tasks: tuple[str, ...] = ()
    default: bool = False

    def fits(self, task: str) -> bool:
        """Whether a task supports the format."""
        return not self.tasks or task in self.tasks


FORMATS: Mapping[str, OutputFormat] = {
    row.name: row
    for row in (
        OutputFormat("native", "files that predictions are loaded from", NativeWriter, default=True),
        OutputFormat("picture", "the prediction drawn on the image", PictureWriter, default=True),
        OutputFormat("scores", "scores.csv, one row per image", ScoresWriter, ("anomaly",), default=True),
        OutputFormat("coco", "coco.json with boxes and RLE masks", CocoWriter),
        OutputFormat(
            "coco-panoptic", "panoptic.json with segments, panoptic/STEM.png", CocoPanopticWriter, ("panoptic",)
        ),
        OutputFormat("labelme", "STEM_labelme.json with outlines", LabelMeWriter),
        OutputFormat("yolo", "labels/STEM.txt with boxes, and data.yaml", YoloWriter),
        OutputFormat("yolo-seg", "labels/STEM.txt with polygons, and data.yaml", YoloOutlineWriter),
        OutputFormat("npy", "native, with a float32 map STEM.npy instead of STEM.png", ExactMapWriter, ("anomaly",)),
    )
}


def choose_writers(names: str | None, task: str, settings: OutputSettings) -> dict[str, Writer]:
    """Creates the writers of a run, by format.

    Args:
        names: comma-separated format names; None for the defaults of the task.
        task: the method's task.
        settings: file naming of the task.

    Raises:
        ValueError: a format is unknown or not supported by the task.
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
            raise ValueError(f"{task} methods do not support format {name!r}; they support {', '.join(known)}")
    return {name: FORMATS[name].writer(settings) for name in chosen}
