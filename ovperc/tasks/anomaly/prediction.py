"""What a user gets: a map, a score, a decision with its origin, and regions; to be drawn, written and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovperc.core.atomic import atomic_write
from ovperc.io.masks import read_labels, write_labels
from ovperc.tasks.anomaly.calibration import Calibration
from ovperc.tasks.anomaly.regions import Region

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMAT = "ovperc-anomaly-1"
_STEPS = 65535
_LONG_SIDE_PX = 448
_MARK_RGB = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class AnomalyPrediction:
    """One image looked through.

    Attributes:
        map: ``(H, W)`` float32 raw scores at the size of the image, comparable between images of one predictor.
        image_score: of the image as a whole, on a scale of its own.
        object_name: what the method was told the image shows.
        calibration: thresholds and their origin.
        regions: where the map reaches ``calibration.pixel_threshold``; none without one.
        scale: lowest and highest value of the fixed scale that pictures are drawn on.
        source: path or name of the image, if it has one.
        method: what made it.
        metadata: anything else to keep with it; must fit JSON to be saved.

    Raises:
        ValueError: the map is not ``(H, W)``, is empty or holds values that are not finite.
    """

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
            raise ValueError(f"map must be floats (H, W), not empty; got {scores.shape} {scores.dtype}")
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
        """The decision; None without a calibration."""
        return self.calibration.is_anomalous(self.image_score)

    @property
    def anomalous_px(self) -> int:
        """Pixels in regions."""
        return sum(region.area_px for region in self.regions)

    def draw(self, image: Any, scale: tuple[float, float] | None = None, alpha: float = 0.6) -> Image:
        """The map over the image in grey, on a fixed scale that is drawn beside it, regions outlined.

        Args:
            image: the image it was made from, as :func:`ovperc.io.images.read_image` takes it.
            scale: lowest and highest value of the colours; left out, the prediction's own, so that pictures of one
                predictor can be compared.
            alpha: strength of the colours.
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

    def save(self, path: str | Path, exact: bool = False) -> tuple[Path, ...]:
        """Writes ``STEM.png`` (the map in 16 bits) and ``STEM.json`` (everything else), all of it or nothing.

        Args:
            path: ``folder/STEM``, with or without ``.png`` or ``.json``.
            exact: write ``STEM.npy`` with the float32 values instead of the PNG.

        Returns:
            The files, the map first.

        Raises:
            TypeError: ``metadata`` does not fit JSON.
            OSError: the folder cannot be written, or the disk is full.
        """
        stem = _stem(path)
        map_file = stem.with_name(f"{stem.name}.{'npy' if exact else 'png'}")
        record_file = stem.with_name(f"{stem.name}.json")
        low, high = float(self.map.min()), float(self.map.max())
        record = json.dumps(self._record(map_file.name, low, high), indent=1, ensure_ascii=False)
        with atomic_write(map_file, record_file) as (map_path, record_path):
            if exact:
                with map_path.open("wb") as file:
                    np.save(file, self.map)
            else:
                steps = (self.map.astype(np.float64) - low) * (_STEPS / (high - low) if high > low else 0.0)
                write_labels(map_path, np.rint(steps).astype(np.uint16))
            record_path.write_text(record, encoding="utf-8")
        return map_file, record_file

    @classmethod
    def load(cls, path: str | Path) -> AnomalyPrediction:
        """Reads what :meth:`save` wrote; a PNG gives the map back to 1/131070 of its range.

        Raises:
            ValueError: a file is missing or damaged, or is no such record; the message names it.
        """
        record_path = _stem(path).with_name(f"{_stem(path).name}.json")
        try:
            record = json.loads(record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read the record {str(record_path)!r}: {error}") from error
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise ValueError(f"{str(record_path)!r} is no record of this version ({_FORMAT}); save it again")
        try:
            scores = _read_map(record_path.with_name(record["map"]), *record["range"])
            regions = tuple(_region(entry) for entry in record["regions"])
            return cls(
                scores,
                record["image_score"],
                record["object"],
                Calibration(**record["calibration"]),
                regions,
                tuple(record["scale"]),
                record["image"],
                record["method"],
                record["metadata"],
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{str(record_path)!r} lacks an entry or holds a wrong one: {error}") from error

    def _record(self, map_name: str, low: float, high: float) -> dict[str, Any]:
        return {
            "format": _FORMAT,
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
        verdict = {None: "no threshold", True: "anomalous", False: "normal"}[self.is_anomalous]
        return (
            f"AnomalyPrediction({height}x{width} px, {self.object_name!r}: score {self.image_score:.4f}, {verdict}, "
            f"{len(self.regions)} regions)"
        )


def _stem(path: str | Path) -> Path:
    path = Path(path).expanduser()
    return path.with_suffix("") if path.suffix.lower() in (".png", ".json", ".npy") else path


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
