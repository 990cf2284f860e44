"""Segmentation for robots, independent of ROS: labels, regions, legend and diagnostics per frame.

The ROS 2 node is a thin wrapper of :class:`SegmentationCore`, which other middleware can use as well.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ovperc.runtime.streaming import LatestSlot
from ovperc.tasks.segmentation.prediction import SegPrediction

_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC3": 3, "8UC1": 1}
_TIMES_KEPT = 100


class Model(Protocol):
    """Interface of a model, implemented by :class:`ovperc.runtime.segmenter.ExportedSegmenter`."""

    names: tuple[str, ...]

    def set_words(self, words: str, background: str | None = None) -> Any: ...

    def predict(self, image: np.ndarray) -> SegPrediction: ...


@dataclass(frozen=True)
class Region:
    """A connected region of one class.

    Attributes:
        name: class name.
        label: class index.
        box: ``(x0, y0, x1, y1)`` px; right and bottom are exclusive.
        area_px: number of pixels.
        score: mean confidence, in ``[0, 1]``.
    """

    name: str
    label: int
    box: tuple[int, int, int, int]
    area_px: int
    score: float


@dataclass(frozen=True)
class Answer:
    """Result of a frame.

    Attributes:
        stamp: the frame's stamp (a ROS header, a time), passed through.
        prediction: labels and confidence.
        regions: connected regions, largest first.
        latency_s: time from the arrival of the frame to the answer.
        skipped: frames dropped in favour of newer ones since the previous answer.
    """

    stamp: Any
    prediction: SegPrediction
    regions: tuple[Region, ...]
    latency_s: float
    skipped: int


@dataclass(frozen=True)
class Diagnostics:
    """Diagnostics of the core.

    Attributes:
        level: 0 OK, 1 latency above the limit, 2 the last frame failed.
        message: description of the state.
        answered, skipped, failed: frames so far.
        latency_ms, worst_latency_ms: median and largest of the last 100 answers.
    """

    level: int
    message: str
    answered: int
    skipped: int
    failed: int
    latency_ms: float
    worst_latency_ms: float


class SegmentationCore:
    """Processes the newest frame on a worker thread; frames that arrive meanwhile are replaced, never queued.

    Args:
        model: the exported method.
        on_answer: called on the worker thread with every :class:`Answer`.
        on_error: called with the stamp and the error of a failed frame; the core continues.
        min_area_px: smaller regions are not reported.
        max_latency_s: latency above which the diagnostics warn.
    """

    def __init__(
        self,
        model: Model,
        on_answer: Callable[[Answer], None],
        on_error: Callable[[Any, Exception], None] | None = None,
        min_area_px: int = 64,
        max_latency_s: float = 0.5,
    ) -> None:
        self._model = model
        self._on_answer = on_answer
        self._on_error = on_error
        self._min_area_px = min_area_px
        self._max_latency_s = max_latency_s
        self._slot: LatestSlot[tuple[Any, np.ndarray]] = LatestSlot()
        self._changing_words = threading.Lock()
        self._latencies: deque[float] = deque(maxlen=_TIMES_KEPT)
        self._answered = self._skipped = self._failed = 0
        self._last_error = ""
        self._thread = threading.Thread(target=self._work, daemon=True, name="ovperc-core")
        self._thread.start()

    def push(self, image: np.ndarray, stamp: Any = None) -> bool:
        """Submits a frame, ``(H, W, 3)`` uint8 RGB, without blocking. Returns False once the core is closed."""
        return self._slot.put((stamp, image))

    def set_words(self, words: str, background: str | None = None) -> tuple[bool, str]:
        """Changes the vocabulary from the next frame on.

        Returns:
            Whether it succeeded, and the new names or the reason; on failure the old vocabulary is kept.
        """
        try:
            with self._changing_words:
                self._model.set_words(words, background or None)
                return True, ", ".join(self._model.names)
        except (ValueError, TypeError) as error:
            return False, str(error)

    @property
    def names(self) -> tuple[str, ...]:
        """Label -> name of the current vocabulary."""
        return self._model.names

    def legend(self) -> str:
        """Label -> name and colour as JSON."""
        from ovperc.viz.palette import hex_colour, palette

        names = self.names
        colours = palette(len(names), names[0].casefold() == "background")
        entries = [{"id": i, "name": name, "colour": hex_colour(colours[i])} for i, name in enumerate(names)]
        return json.dumps(entries, ensure_ascii=False)

    def diagnostics(self) -> Diagnostics:
        """Current diagnostics."""
        latencies = [1e3 * latency for latency in self._latencies] or [0.0]
        median, worst = float(np.median(latencies)), max(latencies)
        if self._last_error:
            level, message = 2, f"the last frame failed: {self._last_error}"
        elif median > 1e3 * self._max_latency_s:
            level, message = 1, f"median latency {median:.0f} ms is above {1e3 * self._max_latency_s:.0f} ms"
        else:
            level, message = 0, "fine" if self._answered else "waiting for frames"
        return Diagnostics(level, message, self._answered, self._skipped, self._failed, median, worst)

    def close(self) -> None:
        """Stops after the current frame."""
        self._slot.close()
        self._thread.join()

    def _work(self) -> None:
        while (taken := self._slot.take()) is not None:
            _, arrival, skipped, (stamp, image) = taken
            self._skipped += skipped
            try:
                prediction = self._model.predict(image)
                regions = find_regions(prediction, self._min_area_px)
                latency = time.monotonic() - arrival
                self._latencies.append(latency)
                self._answered += 1
                self._last_error = ""
                self._on_answer(Answer(stamp, prediction, regions, latency, skipped))
            except Exception as error:
                # A node must survive a frame that fails.
                self._failed += 1
                self._last_error = str(error)
                if self._on_error is not None:
                    self._on_error(stamp, error)


def decode_image(data: bytes | np.ndarray, height: int, width: int, encoding: str, step: int) -> np.ndarray:
    """Decodes the bytes of a ``sensor_msgs/Image`` to ``(H, W, 3)`` uint8 RGB.

    Args:
        data: ``height * step`` bytes.
        height: rows.
        width: columns.
        encoding: ``rgb8``, ``bgr8``, ``rgba8``, ``bgra8`` or ``mono8``.
        step: bytes per row, padding included.

    Raises:
        ValueError: the encoding is not supported, or there are too few bytes.
    """
    if encoding not in _CHANNELS:
        raise ValueError(f"image encoding {encoding!r} is not supported; publish one of {', '.join(_CHANNELS)}")
    channels = _CHANNELS[encoding]
    values = np.frombuffer(data, dtype=np.uint8) if not isinstance(data, np.ndarray) else data.view(np.uint8)
    if step < width * channels or values.size < height * step:
        raise ValueError(f"an {encoding} image of {height} x {width} px needs rows of {width * channels} bytes")
    pixels = values[: height * step].reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    colour = pixels[:, :, :3]
    reverse = encoding.startswith("bgr") or encoding == "8UC3"
    return np.ascontiguousarray(colour[:, :, ::-1] if reverse else colour)


def find_regions(prediction: SegPrediction, min_area_px: int = 64) -> tuple[Region, ...]:
    """4-connected regions of every class except background, largest first."""
    labels = prediction.labels
    components = connected_components(labels)
    count = int(components.max()) + 1
    flat = components.ravel()
    areas = np.bincount(flat, minlength=count)
    scores = np.bincount(flat, weights=prediction.confidence.ravel(), minlength=count) / areas
    first = np.zeros(count, dtype=np.int64)
    first[flat[::-1]] = np.arange(flat.size)[::-1]
    owners = labels.ravel()[first]
    skip = 0 if prediction.has_background else -1
    regions = []
    for index in np.flatnonzero((areas >= min_area_px) & (owners.astype(np.int64) != skip)):
        box = _box(components, int(index), int(first[index]), int(areas[index]))
        label = int(owners[index])
        regions.append(Region(prediction.names[label], label, box, int(areas[index]), float(scores[index])))
    return tuple(sorted(regions, key=lambda region: -region.area_px))


def connected_components(labels: np.ndarray) -> np.ndarray:
    """Labels 4-connected components of equal labels: ``(H, W)`` int64 from 0, using row runs."""
    height, width = labels.shape
    starts = np.ones((height, width), dtype=bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    runs = np.cumsum(starts.ravel()).reshape(height, width) - 1
    parents = np.arange(runs.max() + 1)
    touching = labels[1:] == labels[:-1]
    pairs = np.unique(np.stack([runs[:-1][touching], runs[1:][touching]], axis=1), axis=0)
    # Every run takes the smallest number it touches, with path compression, until nothing changes.
    while True:
        low = np.minimum(parents[pairs[:, 0]], parents[pairs[:, 1]])
        before = parents.copy()
        for side in (0, 1):
            np.minimum.at(parents, before[pairs[:, side]], low)
            np.minimum.at(parents, pairs[:, side], low)
        parents = parents[parents]
        if (parents == before).all():
            break
    _, numbers = np.unique(parents, return_inverse=True)
    return numbers.reshape(-1)[runs]


def _box(components: np.ndarray, index: int, first: int, area_px: int) -> tuple[int, int, int, int]:
    """Bounding box of a component; its first pixel, row by row, lies in its top row."""
    top = first // components.shape[1]
    inside = components[top : top + area_px] == index
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(columns[0]), top, int(columns[-1]) + 1, top + int(rows[-1]) + 1
