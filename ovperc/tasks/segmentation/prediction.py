"""What a user gets: predictions in numpy, checked, that can be measured, drawn, written and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovperc.core.naming import suggest
from ovperc.io.masks import read_confidence, read_labels, write_confidence, write_labels
from ovperc.tasks.prediction import Prediction, Writer, json_writer
from ovperc.viz.palette import hex_colour, palette

if TYPE_CHECKING:
    from PIL.Image import Image

    from ovperc.io.annotations import ImageAnnotations

_MAX_NAMES = 65536
_ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class SegPrediction(Prediction):
    """A segmented image.

    Attributes:
        labels: ``(H, W)`` uint16 at the size of the image, index into ``names``; any integer array is taken.
        confidence: ``(H, W)`` float32 in ``[0, 1]``; any float array is taken.
        names: label -> name, all different. A label 0 named "background" is drawn grey.
        source: path or name of the image, if it has one.
        method: what made it.
        metadata: anything else to keep with it; must fit JSON to be saved.
    """

    record_format = "ovperc-segmentation-1"

    labels: np.ndarray
    confidence: np.ndarray
    names: tuple[str, ...]
    source: str | None = None
    method: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _checked_names(self.names))
        object.__setattr__(self, "labels", _checked_labels(self.labels, len(self.names)))
        object.__setattr__(self, "confidence", _checked_confidence(self.confidence, self.labels.shape))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, px."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def has_background(self) -> bool:
        """Whether label 0 is background."""
        return self.names[0].casefold() == "background"

    @property
    def colours(self) -> np.ndarray:
        """Label -> RGB, ``(C, 3)`` uint8, as :meth:`draw` uses them."""
        return palette(len(self.names), self.has_background)

    def areas(self) -> dict[str, float]:
        """Name -> fraction of the pixels, in label order; classes that are not there have 0."""
        return dict(zip(self.names, (self._counts() / self.labels.size).tolist(), strict=True))

    def mask(self, name: str) -> np.ndarray:
        """``(H, W)`` bool, the pixels of a class.

        Raises:
            ValueError: no such class; near matches are offered.
        """
        if name not in self.names:
            raise ValueError(f"no class {name!r} in this prediction; {suggest(name, self.names)}")
        return self.labels == self.names.index(name)

    def annotations(self) -> ImageAnnotations:
        """One object per class that is present, background left out."""
        from ovperc.io.annotations import annotate_labels

        skip = (0,) if self.has_background else ()
        return annotate_labels(self.labels, self.confidence, self.names, self.source or "", skip)

    def draw(self, image: Any, **options: Any) -> Image:
        """An overlay with a legend.

        Args:
            image: the image it was made from, as :func:`ovperc.io.images.read_image` takes it.
            **options: ``alpha``, ``legend``, ``side_by_side``, ``max_classes``; see
                :func:`ovperc.viz.draw.draw_segmentation`.
        """
        from ovperc.io.images import read_image
        from ovperc.viz.draw import draw_segmentation

        return draw_segmentation(read_image(image), self.labels, self.names, self.colours, **options)

    def files(self, stem: Path, coco: bool = False, confidence: bool = False) -> dict[Path, Writer]:
        """``STEM.png`` (labels, 16 bits) and ``STEM.json`` (legend).

        Args:
            stem: ``folder/STEM``.
            coco: also ``STEM_coco.json``.
            confidence: also ``STEM_confidence.png``; without it a loaded prediction has the mean confidence of each
                class.
        """
        names = {"labels": f"{stem.name}.png"}
        names |= {"confidence": f"{stem.name}_confidence.png"} if confidence else {}
        names |= {"coco": f"{stem.name}_coco.json"} if coco else {}
        names["legend"] = f"{stem.name}.json"
        writers: dict[str, Writer] = {
            "labels": lambda path: write_labels(path, self.labels),
            "confidence": lambda path: write_confidence(path, self.confidence),
            "legend": json_writer(self._legend(names)),
        }
        if coco:
            writers["coco"] = json_writer(self.to_coco(), indent=None)
        return {stem.with_name(name): writers[entry] for entry, name in names.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], folder: Path) -> SegPrediction:
        """A prediction from its legend and the label map beside it."""
        labels = read_labels(folder / record["labels"])
        names = tuple(entry["name"] for entry in record["classes"])
        if "confidence" in record:
            confidence = read_confidence(folder / record["confidence"])
        else:
            means = [entry["mean_confidence"] or 0.0 for entry in record["classes"]]
            confidence = np.array(means, dtype=np.float32)[labels]
        return cls(labels, confidence, names, record["image"], record["method"], record["metadata"])

    def summary(self) -> str:
        """The largest classes with their share of the image."""
        shares = sorted(self.areas().items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {100 * share:.1f}%" for name, share in shares[:4] if share)

    def _counts(self) -> np.ndarray:
        return np.bincount(self.labels.ravel(), minlength=len(self.names))

    def _legend(self, files: Mapping[str, str]) -> dict[str, Any]:
        counts = self._counts()
        sums = np.bincount(self.labels.ravel(), weights=self.confidence.ravel(), minlength=len(self.names))
        return {
            "format": self.record_format,
            "image": self.source,
            "size_hw": list(self.size_hw),
            "method": self.method,
            **files,
            "classes": [
                {
                    "id": label,
                    "name": name,
                    "area_px": int(counts[label]),
                    "colour": hex_colour(colour),
                    "mean_confidence": float(sums[label] / counts[label]) if counts[label] else None,
                }
                for label, (name, colour) in enumerate(zip(self.names, self.colours, strict=True))
            ],
            "metadata": dict(self.metadata),
        }

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"SegPrediction({height}x{width} px, {len(self.names)} classes: {self.summary()})"


def _checked_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be a tuple of strings, label -> name; got {names!r}")
    if not 1 <= len(names) <= _MAX_NAMES:
        raise ValueError(f"a prediction has 1 to {_MAX_NAMES} names; got {len(names)}")
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"names must differ; {twice!r} occurs more than once")
    return tuple(names)


def _checked_labels(labels: Any, num_names: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise ValueError(f"labels must be integers of shape (H, W), not empty; got {labels.shape} {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_names:
        raise ValueError(f"labels must lie in 0..{num_names - 1}, the range of names; got {low}..{high}")
    return np.ascontiguousarray(labels, dtype=np.uint16)


def _checked_confidence(confidence: Any, shape_hw: tuple[int, ...]) -> np.ndarray:
    confidence = np.asarray(confidence)
    if confidence.shape != shape_hw or confidence.dtype.kind != "f":
        raise ValueError(
            f"confidence must be floats of the shape of labels {shape_hw}; got {confidence.shape} {confidence.dtype}"
        )
    low, high = float(confidence.min()), float(confidence.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise ValueError(f"confidence must lie in [0, 1]; got {low}..{high}")
    return np.ascontiguousarray(confidence, dtype=np.float32).clip(0, 1)
