"""What a detector answers: boxes and masks with names, that can be measured, drawn, written and read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovperc.tasks.prediction import Prediction, Writer, json_writer

if TYPE_CHECKING:
    from PIL.Image import Image

    from ovperc.io.annotations import ImageAnnotations

Rle = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class DetPrediction(Prediction):
    """Objects found in an image, best first.

    Attributes:
        boxes: ``(N, 4)`` float32 ``x0, y0, x1, y1`` in pixels of the image, right and bottom edges excluded.
        scores: ``(N,)`` float32, not falling below 0; comparable within one method, not a probability after fusion.
        labels: ``(N,)`` int64, index into ``names``.
        names: label -> name: the words that were asked.
        size_hw: height and width of the image, px.
        masks: one COCO run-length code per object, of the image's size; None for a detector without masks.
        source: path or name of the image, if it has one.
        method: what made it.
        metadata: anything else to keep with it; must fit JSON to be saved.
    """

    record_format = "ovperc-detection-1"
    suffixes = (".json",)

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    size_hw: tuple[int, int]
    masks: tuple[Rle, ...] | None = None
    source: str | None = None
    method: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        boxes = np.ascontiguousarray(self.boxes, dtype=np.float32).reshape(-1, 4)
        scores = np.ascontiguousarray(self.scores, dtype=np.float32).reshape(-1)
        labels = np.ascontiguousarray(self.labels, dtype=np.int64).reshape(-1)
        object.__setattr__(self, "names", tuple(self.names))
        for name, value in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            object.__setattr__(self, name, value)
        counts = {len(boxes), len(scores), len(labels)} | ({len(self.masks)} if self.masks is not None else set())
        if len(counts) != 1:
            raise ValueError(
                f"boxes, scores, labels and masks must be equally many; got {len(boxes)}, {len(scores)}, {len(labels)}"
                + ("" if self.masks is None else f" and {len(self.masks)}")
            )
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError("boxes and scores must be finite")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.names):
            raise ValueError(f"labels must lie in 0..{len(self.names) - 1}; got {labels.min()}..{labels.max()}")
        wrong = [mask["size"] for mask in self.masks or () if tuple(mask["size"]) != tuple(self.size_hw)]
        if wrong:
            raise ValueError(f"masks must have the size of the image {self.size_hw}; one has {wrong[0]}")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def found(self) -> tuple[str, ...]:
        """Name of each object."""
        return tuple(self.names[label] for label in self.labels)

    def counts(self) -> dict[str, int]:
        """Name -> how many were found, in label order; names that were not found have 0."""
        return dict(zip(self.names, np.bincount(self.labels, minlength=len(self.names)).tolist(), strict=True))

    def mask(self, index: int) -> np.ndarray:
        """Pixels of an object, ``(H, W)`` bool; its box where the detector makes no masks."""
        if self.masks is not None:
            from ovperc.io.coco import decode_rle  # here, as predictions without masks need no pycocotools

            return decode_rle(dict(self.masks[index]))
        mask = np.zeros(self.size_hw, dtype=bool)
        x0, y0, x1, y1 = np.round(self.boxes[index]).astype(int)
        mask[y0:y1, x0:x1] = True
        return mask

    def above(self, score: float) -> DetPrediction:
        """The objects that score at least so much."""
        return self.subset(np.flatnonzero(self.scores >= score))

    def subset(self, rows: Sequence[int] | np.ndarray) -> DetPrediction:
        """Some of the objects, in the order given."""
        rows = np.asarray(rows, dtype=np.int64)
        masks = None if self.masks is None else tuple(self.masks[row] for row in rows)
        return DetPrediction(
            self.boxes[rows],
            self.scores[rows],
            self.labels[rows],
            self.names,
            self.size_hw,
            masks,
            self.source,
            self.method,
            self.metadata,
        )

    def to_coco_results(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of COCO's results format, for pycocotools' ``loadRes``.

        Args:
            image_id: of the annotation file.
            category_ids: label -> category id; left out, the labels themselves.

        Raises:
            ValueError: fewer or more ids than names.
        """
        if category_ids is not None and len(category_ids) != len(self.names):
            raise ValueError(f"one category id for each of {len(self.names)} names; got {len(category_ids)}")
        rows = []
        for index, (box, label) in enumerate(zip(self.boxes.astype(float), self.labels.tolist(), strict=True)):
            row = {
                "image_id": image_id,
                "category_id": label if category_ids is None else category_ids[label],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "score": float(self.scores[index]),
            }
            rows.append(row if self.masks is None else {**row, "segmentation": dict(self.masks[index])})
        return rows

    def annotations(self) -> ImageAnnotations:
        """The objects, best first."""
        from ovperc.io.annotations import Annotation, ImageAnnotations

        masks = [None] * len(self) if self.masks is None else self.masks
        objects = tuple(
            Annotation(label, score, tuple(box), mask, self._area(index))
            for index, (label, score, box, mask) in enumerate(
                zip(self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), masks, strict=True)
            )
        )
        return ImageAnnotations(self.names, self.size_hw, self.source or "", objects)

    def to_coco(self) -> dict[str, Any]:
        """A COCO document of the image, which pycocotools and annotation tools read; :meth:`load` reads it, too."""
        info = {"format": self.record_format, "method": self.method, "metadata": dict(self.metadata)}
        return {**super().to_coco(), "info": info}

    def draw(self, image: Any, **options: Any) -> Image:
        """Boxes, masks and names on the image.

        Args:
            image: the image it was made from, as :func:`ovperc.io.images.read_image` takes it.
            **options: ``min_score``, ``alpha``, ``max_objects``; see
                :func:`ovperc.viz.detections.draw_detections`.
        """
        from ovperc.io.images import read_image
        from ovperc.viz.detections import draw_detections

        return draw_detections(read_image(image), self, **options)

    def files(self, stem: Path, labelme: bool = False) -> dict[Path, Writer]:
        """``STEM.json`` (COCO).

        Args:
            stem: ``folder/STEM``.
            labelme: also ``STEM_labelme.json``.
        """
        extra = {stem.with_name(f"{stem.name}_labelme.json"): json_writer(self.to_labelme(), None)} if labelme else {}
        return {**extra, stem.with_name(f"{stem.name}.json"): json_writer(self.to_coco(), None)}

    @classmethod
    def format_of(cls, record: Any) -> Any:
        """The format that COCO's ``info`` names."""
        return (
            record["info"].get("format") if isinstance(record, dict) and isinstance(record.get("info"), dict) else None
        )

    def summary(self) -> str:
        """How many of each name were found."""
        return ", ".join(f"{count} {name}" for name, count in self.counts().items() if count) or "nothing found"

    @classmethod
    def from_record(cls, record: Mapping[str, Any], folder: Path) -> DetPrediction:
        """A prediction from its COCO document."""
        rows, image = record["annotations"], record["images"][0]
        boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        has_masks = bool(rows) and all("segmentation" in row for row in rows)
        return cls(
            boxes=boxes,
            scores=np.array([row["score"] for row in rows]),
            labels=np.array([row["category_id"] for row in rows], dtype=np.int64),
            names=tuple(entry["name"] for entry in record["categories"]),
            size_hw=(image["height"], image["width"]),
            masks=tuple(row["segmentation"] for row in rows) if has_masks else None,
            source=image["file_name"] or None,
            method=record["info"]["method"],
            metadata=record["info"]["metadata"],
        )

    def _area(self, index: int) -> float:
        if self.masks is not None:
            from pycocotools import mask as coco_mask

            code = self.masks[index]
            return float(coco_mask.area({"size": list(code["size"]), "counts": code["counts"].encode("ascii")}))
        width, height = self.boxes[index, 2:] - self.boxes[index, :2]
        return float(width * height)

    def __repr__(self) -> str:
        height, width = self.size_hw
        listed = ", ".join(f"{name} {score:.2f}" for name, score in zip(self.found[:4], self.scores[:4], strict=False))
        return f"DetPrediction({height}x{width} px, {len(self)} objects: {listed})"
