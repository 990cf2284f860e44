"""What panoptic segmentation answers: segments with classes, that can be measured, drawn, written and read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovperc.core.panoptic import VOID_ID, PanopticMap, Segment
from ovperc.tasks.prediction import Prediction, Writer, json_writer
from ovperc.viz.palette import palette

if TYPE_CHECKING:
    from PIL.Image import Image

    from ovperc.io.annotations import ImageAnnotations

_VOID_NAME = "void"
_LISTED = 4


@dataclass(frozen=True, eq=False)
class PanopticPrediction(Prediction):
    """An image divided into segments.

    Attributes:
        ids: ``(H, W)`` int32 at the size of the image, id of each pixel's segment, 0 where no segment is (void); any
            integer array is taken.
        segments: id, label and score of each segment.
        names: label -> name, all different.
        things: labels of the thing classes, whose segments are single instances; of other classes there is at most
            one segment.
        source: path or name of the image, if it has one.
        method: what made it.
        metadata: anything else to keep with it; must fit JSON to be saved.

    Raises:
        ValueError: ids and segments that do not belong together, a label without a name, or a stuff class with
            several segments.
    """

    record_format = "ovperc-panoptic-1"

    ids: np.ndarray
    segments: tuple[Segment, ...]
    names: tuple[str, ...]
    things: tuple[int, ...]
    source: str | None = None
    method: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked = PanopticMap(self.ids, self.segments)
        object.__setattr__(self, "ids", checked.ids)
        object.__setattr__(self, "segments", checked.segments)
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "things", tuple(sorted(self.things)))
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names must differ; got {self.names}")
        labels = Counter(segment.label for segment in self.segments)
        wrong = [label for label in (*labels, *self.things) if not 0 <= label < len(self.names)]
        if wrong:
            raise ValueError(f"labels must lie in 0..{len(self.names) - 1}, the range of names; got {wrong}")
        several = [self.names[label] for label, count in labels.items() if count > 1 and label not in self.things]
        if several:
            raise ValueError(f"a stuff class has at most one segment; {several} have more")

    @property
    def panoptic(self) -> PanopticMap:
        """Ids and segments as one value."""
        return PanopticMap(self.ids, self.segments)

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, px."""
        return self.ids.shape[0], self.ids.shape[1]

    @property
    def segment_names(self) -> tuple[str, ...]:
        """Name of each segment; instances of one class are counted: ``"red star 2"``."""
        total = Counter(segment.label for segment in self.segments)
        count: Counter[int] = Counter()
        found = []
        for segment in self.segments:
            count[segment.label] += 1
            number = f" {count[segment.label]}" if total[segment.label] > 1 else ""
            found.append(f"{self.names[segment.label]}{number}")
        return tuple(found)

    def counts(self) -> dict[str, int]:
        """Name -> number of instances, thing classes in label order; those that were not found have 0."""
        found = Counter(segment.label for segment in self.segments)
        return {self.names[label]: found[label] for label in self.things}

    def areas(self) -> dict[str, float]:
        """Name -> fraction of the pixels, in label order; void pixels belong to no class."""
        areas, sums = self.panoptic.areas(), Counter[int]()
        for segment in self.segments:
            sums[segment.label] += areas[segment.id]
        return {name: sums[label] / self.ids.size for label, name in enumerate(self.names)}

    def annotations(self) -> ImageAnnotations:
        """An object for each segment, of things and of stuff."""
        from ovperc.io.annotations import ImageAnnotations, mask_annotation

        objects = tuple(
            mask_annotation(segment.label, segment.score, self.ids == segment.id) for segment in self.segments
        )
        return ImageAnnotations(self.names, self.size_hw, self.source or "", objects)

    def draw(self, image: Any, **options: Any) -> Image:
        """An overlay in which every segment has a colour of its own, with a legend; void is grey.

        Args:
            image: the image it was made from, as :func:`ovperc.io.images.read_image` takes it.
            **options: ``alpha``, ``legend``, ``side_by_side``, ``max_classes``; see
                :func:`ovperc.viz.draw.draw_segmentation`.
        """
        from ovperc.io.images import read_image
        from ovperc.viz.draw import draw_segmentation

        known = np.array([VOID_ID, *(segment.id for segment in self.segments)])
        order = np.argsort(known)
        places = order[np.searchsorted(known, self.ids, sorter=order)]
        names = (_VOID_NAME, *self.segment_names)
        return draw_segmentation(read_image(image), places, names, palette(len(names), background=True), **options)

    def files(self, stem: Path) -> dict[Path, Writer]:
        """``STEM.png`` (segment ids as COCO's panoptic format has them) and ``STEM.json``.

        Args:
            stem: ``folder/STEM``.
        """
        from ovperc.io.panoptic import write_ids

        ids, record = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.json")
        return {
            ids: lambda path: write_ids(path, self.ids),
            record: json_writer(self._record(ids.name)),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], folder: Path) -> PanopticPrediction:
        """A prediction from its record and the map beside it."""
        from ovperc.io.panoptic import read_ids

        segments = tuple(Segment(row["id"], row["category_id"], row["score"]) for row in record["segments_info"])
        return cls(
            ids=read_ids(folder / record["ids"]),
            segments=segments,
            names=tuple(row["name"] for row in record["categories"]),
            things=tuple(row["id"] for row in record["categories"] if row["isthing"]),
            source=record["image"],
            method=record["method"],
            metadata=record["metadata"],
        )

    def summary(self) -> str:
        """The instances that were found, and the largest stuff with its share of the image."""
        things = [f"{count} {name}" for name, count in self.counts().items() if count]
        shares = [(name, share) for name, share in self.areas().items() if share and name not in self.counts()]
        stuff = [f"{name} {100 * share:.1f}%" for name, share in sorted(shares, key=lambda entry: -entry[1])]
        return ", ".join([*things, *stuff[:_LISTED]]) or "nothing found"

    def _record(self, ids: str) -> dict[str, Any]:
        from ovperc.io.panoptic import panoptic_categories, segments_info

        return {
            "format": self.record_format,
            "image": self.source,
            "size_hw": list(self.size_hw),
            "method": self.method,
            "ids": ids,
            "segments_info": segments_info(self.panoptic),
            "categories": panoptic_categories(self.names, self.things),
            "metadata": dict(self.metadata),
        }

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"PanopticPrediction({height}x{width} px, {len(self)} segments: {self.summary()})"
