"""Asks an exported folder where an image is damaged: numpy, onnxruntime and Pillow, no torch.

from ovperc.runtime import segmenter as runtime

model = runtime.load("exports/anomalyclip")
prediction = model.predict("part.png")
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovperc.runtime.card import INPUTS_NAME, MODEL_NAME, Card, FolderError
from ovperc.runtime.segmenter import check_image
from ovperc.runtime.sessions import SessionOptions
from ovperc.runtime.streaming import StreamResult, stream
from ovperc.tasks.anomaly.calibration import Calibration
from ovperc.tasks.anomaly.prediction import AnomalyPrediction
from ovperc.tasks.anomaly.regions import Region, find_regions


class ExportedAnomaly:
    """An anomaly method that was exported, with the interface of its predictor where it can have it.

    Args:
        folder: of the files.
        card: of the folder.
        options: how the files are opened.
    """

    def __init__(self, folder: Path, card: Card, options: SessionOptions) -> None:
        self.card = card
        self.calibration = Calibration(**card.settings["calibration"])
        self.inputs = read_inputs(folder)
        self._session = options.open(folder / MODEL_NAME)

    def use_inputs(self, inputs: dict[str, np.ndarray]) -> None:
        """Compares with something else: the two text vectors of another object, or another memory of patches.

        Args:
            inputs: ``texts`` ``(2, E)``, or ``memory_0``, ...; float32, as
                :func:`ovperc.export.anomaly_export.anomaly_inputs` makes them.

        Raises:
            ValueError: other names or channels than the file has, or values that are not finite.
        """
        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"this file compares with {', '.join(self.inputs)}; got {', '.join(inputs) or 'nothing'}")
        for name, value in inputs.items():
            channels = self.inputs[name].shape[1]
            rows = "(2, E)" if name == "texts" else "(M, E)"
            fits = value.ndim == 2 and value.shape[1] == channels and len(value) > 0
            if not fits or (name == "texts" and len(value) != 2):
                raise ValueError(f"{name} must be {rows} with {channels} channels; got {value.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{name} holds values that are not finite; make it again")
        self.inputs = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}

    def predict(self, image: Any, *, min_area_px: int = 1) -> AnomalyPrediction:
        """Looks through one image.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, or a path or PIL image.
            min_area_px: smaller regions are left out.

        Raises:
            TypeError, ValueError: an image of another kind, or of a size outside the profile.
        """
        return self.predict_batch([image], min_area_px=min_area_px)[0]

    def predict_batch(self, images: Sequence[Any], *, min_area_px: int = 1) -> list[AnomalyPrediction]:
        """Looks through several images, one after the other."""
        found = []
        for image in images:
            pixels = check_image(image, self.card.profile)
            maps, scores = self._session.run(["map", "score"], {"image": pixels[None], **self.inputs})
            source = str(image) if isinstance(image, (str, Path)) else None
            found.append(self._prediction(maps[0], float(scores[0]), source, min_area_px))
        return found

    def stream(self, frames: Iterable[Any], latest: bool = True) -> Iterator[StreamResult[Any, AnomalyPrediction]]:
        """Looks through frames as they come; see :func:`ovperc.runtime.streaming.stream`."""
        return stream(frames, self.predict, latest)

    def _prediction(self, scores: np.ndarray, image_score: float, source: str | None, area: int) -> AnomalyPrediction:
        card, threshold = self.card, self.calibration.pixel_threshold
        return AnomalyPrediction(
            map=scores,
            image_score=image_score,
            object_name=card.settings["object_name"],
            calibration=self.calibration,
            regions=_regions(scores, threshold, area),
            scale=(0.0, 1.0) if card.settings["bounded"] or not threshold else (0.0, 2 * threshold),
            source=source,
            method=card.method,
            metadata={"weights": card.weights, "arch": card.arch, "precision": card.precision, "ovperc": card.version},
        )


def read_inputs(folder: Path) -> dict[str, np.ndarray]:
    """What a graph compares with, from the folder.

    Raises:
        FolderError: the file is missing or damaged.
    """
    path = folder / INPUTS_NAME
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FolderError(f"cannot read {str(path)!r} ({error}); copy the whole folder again") from error


def _regions(scores: np.ndarray, threshold: float | None, min_area_px: int) -> tuple[Region, ...]:
    """Regions above the threshold, where OpenCV is there to outline them."""
    if importlib.util.find_spec("cv2") is None:
        return ()
    return find_regions(scores, threshold, min_area_px)
