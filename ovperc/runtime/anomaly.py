"""Exported anomaly localization: pixels to an anomaly map and a score. No torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovperc.runtime.base import ExportedModel, read_inputs
from ovperc.runtime.manifest import INPUTS_NAME, FolderError, Manifest
from ovperc.runtime.sessions import SessionOptions
from ovperc.tasks.anomaly.calibration import Calibration
from ovperc.tasks.anomaly.prediction import AnomalyPrediction
from ovperc.tasks.anomaly.regions import Region, find_regions

TEXTS = "texts"


class ExportedAnomaly(ExportedModel[int, AnomalyPrediction]):
    """An exported anomaly method.

    Args:
        folder: of the files.
        manifest: of the folder.
        options: how the files are opened.

    Attributes:
        calibration: thresholds of the decision.
        inputs: what images are compared with: ``texts`` ``(2, E)``, normal then anomalous, or ``memory_0``, ...
            ``(M, D)``; float32.
    """

    task = "anomaly"

    def __init__(self, folder: Path, manifest: Manifest, options: SessionOptions) -> None:
        super().__init__(folder, manifest, options)
        try:
            self.calibration = Calibration(**manifest.settings["calibration"])
            self.object_name, self._bounded = str(manifest.settings["object_name"]), bool(manifest.settings["bounded"])
        except (KeyError, TypeError, ValueError) as error:
            raise FolderError(f"the manifest of {str(folder)!r} is corrupt: {error}; export again") from error
        self.inputs = read_inputs(folder)
        if not self.inputs:
            raise FolderError(f"{INPUTS_NAME} of {str(folder)!r} is empty; copy the whole folder again")
        try:
            self._check(self.inputs)
        except ValueError as error:
            raise FolderError(f"{INPUTS_NAME} of {str(folder)!r} is corrupt: {error}; export again") from error

    @classmethod
    def required_files(cls, manifest: Manifest) -> tuple[str, ...]:
        """The text embeddings or the memory bank too."""
        return (*super().required_files(manifest), INPUTS_NAME)

    def use_inputs(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Compares with something else: the two text embeddings of another object, or another memory bank.

        Args:
            inputs: as :attr:`inputs`; :func:`ovperc.export.anomaly.anomaly_inputs` makes them.

        Raises:
            ValueError: other names or channels than the model has, or values that cannot be compared with.
        """
        inputs = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}
        self._check(inputs)
        self.inputs = inputs

    def query(self, min_area_px: int = 1) -> int:
        """The options of one call.

        Args:
            min_area_px: smaller regions are left out.
        """
        return min_area_px

    def _answer(self, pixels: np.ndarray, query: int, source: str | None) -> AnomalyPrediction:
        maps, scores = self._session.run(["map", "score"], {"image": pixels[None], **self.inputs})
        threshold = self.calibration.pixel_threshold
        return AnomalyPrediction(
            map=maps[0],
            image_score=float(scores[0]),
            object_name=self.object_name,
            calibration=self.calibration,
            regions=_regions(maps[0], threshold, query),
            scale=(0.0, 1.0) if self._bounded or not threshold else (0.0, 2 * threshold),
            source=source,
            method=self.manifest.method,
            metadata=self.metadata,
        )

    def _check(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raises ValueError for inputs that images cannot be compared with."""
        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"this model compares with {', '.join(self.inputs)}; got {', '.join(inputs) or 'nothing'}")
        for name, value in inputs.items():
            channels = self.inputs[name].shape[-1:]
            rows = "(2, E)" if name == TEXTS else "(M, E)"
            fits = value.ndim == 2 and value.shape[1:] == channels and len(value) > 0
            if not fits or (name == TEXTS and len(value) != 2):
                raise ValueError(f"{name} must be {rows} with {channels} channels; got {value.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{name} holds values that are not finite; make it again")
            if name == TEXTS and not np.linalg.norm(value, axis=1).all():
                raise ValueError(f"{name} holds a row of zeros; make it again")

    def _defaults(self) -> Mapping[str, Any]:
        return {"inputs": self.inputs}


def _regions(scores: np.ndarray, threshold: float | None, min_area_px: int) -> tuple[Region, ...]:
    """Regions above the threshold, where OpenCV is there to outline them."""
    if importlib.util.find_spec("cv2") is None:
        return ()
    return find_regions(scores, threshold, min_area_px)
