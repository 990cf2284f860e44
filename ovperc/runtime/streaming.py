"""Frames from a camera or a video at the pace of the model: the newest frame, never a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class StreamResult(Generic[T, R]):
    """The answer to one frame.

    Attributes:
        index: number of the frame in the source, from 0.
        frame: as it came.
        result: what the model answered.
        latency_s: from the arrival of the frame to its answer, seconds.
        skipped: frames that arrived and were replaced by newer ones since the answer before.
    """

    index: int
    frame: T
    result: R
    latency_s: float
    skipped: int


class LatestSlot(Generic[T]):
    """A place for one item: a newer one replaces it. Safe between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: tuple[int, float, T] | None = None
        self._arrived = 0
        self._taken = -1
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Leaves an item; False once the slot is closed."""
        with self._changed:
            if self._closed:
                return False
            self._item = (self._arrived, time.monotonic(), item)
            self._arrived += 1
            self._changed.notify_all()
            return True

    def close(self, error: BaseException | None = None) -> None:
        """No more items; what lies in the slot may still be taken. ``error`` is raised to the taker after it."""
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> tuple[int, float, int, T] | None:
        """Waits for an item: its number, arrival time, how many were replaced since the last one taken, itself.

        Returns:
            ``None`` once the slot is closed and empty, or when the time is over.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            if self._item is None:
                if self._error is not None:
                    raise self._error
                return None
            index, arrival, item = self._item
            self._item, skipped = None, index - self._taken - 1
            self._taken = index
            return index, arrival, skipped, item


def stream(frames: Iterable[T], answer: Callable[[T], R], latest: bool = True) -> Iterator[StreamResult[T, R]]:
    """Answers frames as they come.

    With ``latest`` a thread reads the source while the model works and keeps the newest frame only: an answer
    is at most two model times old (one that was running when the frame came, and its own), however fast the
    camera is. Closing the iterator stops the thread at its next frame.

    Args:
        frames: a camera or video iterator.
        answer: the model.
        latest: False answers every frame in order, for files.
    """
    if not latest:
        for index, frame in enumerate(frames):
            begin = time.monotonic()
            result = answer(frame)
            yield StreamResult(index, frame, result, time.monotonic() - begin, 0)
        return
    slot: LatestSlot[T] = LatestSlot()
    reader = threading.Thread(target=_read, args=(frames, slot), daemon=True, name="ovperc-frames")
    reader.start()
    try:
        while (taken := slot.take()) is not None:
            index, arrival, skipped, frame = taken
            result = answer(frame)
            yield StreamResult(index, frame, result, time.monotonic() - arrival, skipped)
    finally:
        slot.close()


def _read(frames: Iterable[T], slot: LatestSlot[T]) -> None:
    try:
        for frame in frames:
            if not slot.put(frame):
                return
    except BaseException as error:
        slot.close(error)
    else:
        slot.close()
