"""Anomaly predictions: map, image score, decision and regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovperc.io.masks import read_labels, write_labels
from ovperc.tasks.anomaly.calibration import Calibration
from ovperc.tasks.anomaly.regions import Region
from ovperc.tasks.prediction import Prediction, Writer, json_writer

if TYPE_CHECKING:
    from PIL.Image import Image

    from ovperc.io.annotations import ImageAnnotations

_STEPS = 65535
_LONG_SIDE_PX = 448
_MARK_RGB = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class AnomalyPrediction(Prediction):
    """Anomaly localization result for an image.

    Attributes:
        map: ``(H, W)`` float32 raw scores at image size, comparable across images of a predictor.
        image_score: score of the image, on its own scale.
        object_name: name of the inspected object.
        calibration: thresholds and their origin.
        regions: connected regions at or above ``calibration.pixel_threshold``; empty without one.
        scale: lowest and highest value of the colour scale.
        source: path or name of the image, if any.
        method: method and weights that produced it.
        metadata: additional data; must be JSON-serialisable to be saved.

    Raises:
        ValueError: the map is not ``(H, W)``, is empty or has non-finite values.
    """

    record_format = "ovperc-anomaly-1"
    suffixes = (".png", ".json", ".npy")

    map: np.ndarray
    image_score: float
    object_name: str = ""
    calibration: Calibration = field(default_factory=Calibration)
    regions: tuple[Region, ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)
    source: str | None = None
    method: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scores = np.asarray(self.map)
        if scores.ndim != 2 or scores.size == 0 or scores.dtype.kind != "f":
            raise ValueError(f"map must be a non-empty float array (H, W); got {scores.shape} {scores.dtype}")
        if not np.isfinite(scores).all() or not np.isfinite(self.image_score):
            raise ValueError("map and image_score must be finite; check the weights and their dtype")
        object.__setattr__(self, "map", np.ascontiguousarray(scores, dtype=np.float32))
        object.__setattr__(self, "image_score", float(self.image_score))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, px."""
        return self.map.shape[0], self.map.shape[1]

    @property
    def is_anomalous(self) -> bool | None:
        """Whether the image is anomalous; None without a calibration."""
        return self.calibration.is_anomalous(self.image_score)

    @property
    def anomalous_px(self) -> int:
        """Pixels in regions."""
        return sum(region.area_px for region in self.regions)

    def annotations(self) -> ImageAnnotations:
        """One object per region, named "anomaly", with its peak as score."""
        from ovperc.io.annotations import Annotation, ImageAnnotations
        from ovperc.io.coco import encode_rle

        objects = tuple(
            Annotation(0, region.peak, region.box, encode_rle(region.mask(self.size_hw)), float(region.area_px))
            for region in self.regions
        )
        return ImageAnnotations(("anomaly",), self.size_hw, self.source or "", objects)

    def draw(self, image: Any, scale: tuple[float, float] | None = None, alpha: float = 0.6) -> Image:
        """Draws the map over the greyscale image, with a colour bar and region contours.

        Args:
            image: the predicted image, in any form accepted by :func:`ovperc.io.images.read_image`.
            scale: lowest and highest value of the colours; by default the prediction's own, so that images of a
                predictor are comparable.
            alpha: opacity of the colours.
        """
        from PIL import ImageDraw

        from ovperc.io.images import read_image
        from ovperc.viz.draw import heat_map

        pixels = read_image(image)
        factor = max(1, -(-_LONG_SIDE_PX // max(self.size_hw)))
        low, high = self.scale if scale is None else scale
        values, large = (array.repeat(factor, axis=0).repeat(factor, axis=1) for array in (self.map, pixels))
        picture = heat_map(values, low, high, "anomaly", large, alpha)
        pen = ImageDraw.Draw(picture)
        for region in self.regions:
            for outline in region.contours:
                points = [((x + 0.5) * factor, (y + 0.5) * factor) for x, y in outline]
                pen.line([*points, points[0]], fill=_MARK_RGB, width=max(1, factor // 2))
        return picture

    def files(self, stem: Path, exact: bool = False) -> dict[Path, Writer]:
        """Saves ``STEM.png`` (the map in 16 bits) and ``STEM.json`` (everything else).

        Args:
            stem: ``folder/STEM``.
            exact: save ``STEM.npy`` with the float32 values instead of the PNG.
        """
        map_file = stem.with_name(f"{stem.name}.{'npy' if exact else 'png'}")
        low, high = float(self.map.min()), float(self.map.max())

        def write_map(path: Path) -> None:
            if exact:
                with path.open("wb") as file:
                    np.save(file, self.map)
            else:
                steps = (self.map.astype(np.float64) - low) * (_STEPS / (high - low) if high > low else 0.0)
                write_labels(path, np.rint(steps).astype(np.uint16))

        record = json_writer(self._record(map_file.name, low, high))
        return {map_file: write_map, stem.with_name(f"{stem.name}.json"): record}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], folder: Path) -> AnomalyPrediction:
        """Loads a saved prediction; a map from a PNG is accurate to 1/131070 of its range."""
        scores = _read_map(folder / record["map"], *record["range"])
        return cls(
            scores,
            record["image_score"],
            record["object"],
            Calibration(**record["calibration"]),
            tuple(_region(entry) for entry in record["regions"]),
            tuple(record["scale"]),
            record["image"],
            record["method"],
            record["metadata"],
        )

    def summary(self) -> str:
        """Score, decision and number of regions."""
        verdict = {None: "no threshold", True: "anomalous", False: "normal"}[self.is_anomalous]
        return f"score {self.image_score:.4f}, {verdict}, {len(self.regions)} regions"

    def _record(self, map_name: str, low: float, high: float) -> dict[str, Any]:
        return {
            "format": self.record_format,
            "image": self.source,
            "object": self.object_name,
            "size_hw": list(self.size_hw),
            "method": self.method,
            "image_score": self.image_score,
            "is_anomalous": self.is_anomalous,
            "calibration": asdict(self.calibration),
            "regions": [asdict(region) for region in self.regions],
            "map": map_name,
            "range": [low, high],
            "scale": list(self.scale),
            "metadata": dict(self.metadata),
        }

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"AnomalyPrediction({height}x{width} px, {self.object_name!r}: {self.summary()})"


def _read_map(path: Path, low: float, high: float) -> np.ndarray:
    if path.suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"cannot read the map {str(path)!r}: {error}") from error
    return (low + read_labels(path).astype(np.float64) * ((high - low) / _STEPS)).astype(np.float32)


def _region(entry: Mapping[str, Any]) -> Region:
    outlines = tuple(tuple((int(x), int(y)) for x, y in outline) for outline in entry["contours"])
    return Region(tuple(entry["box"]), entry["area_px"], entry["peak"], outlines)
