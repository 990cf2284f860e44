"""Latest-frame policy: bounded latency, no queue, errors and ends pass through."""

from __future__ import annotations

import threading
import time

import pytest

from ovperc.runtime.streaming import LatestSlot, stream


def test_every_frame_in_order_for_files() -> None:
    results = list(stream(range(5), lambda frame: frame * 10, latest=False))
    assert [(r.index, r.frame, r.result, r.skipped) for r in results] == [(i, i, 10 * i, 0) for i in range(5)]


def test_a_slow_model_gets_the_newest_frame() -> None:
    """Frames every 5 ms, answers every 60 ms: ages stay near one frame, and the source is never held up."""
    sent: dict[int, float] = {}

    def camera():
        for index in range(80):
            sent[index] = time.monotonic()
            yield index
            time.sleep(0.005)

    ages = []

    def answer(frame: int) -> int:
        ages.append(time.monotonic() - sent[frame])
        time.sleep(0.06)
        return frame

    results = list(stream(camera(), answer))
    assert len(results) < 40
    assert sum(r.skipped for r in results) + len(results) == 80
    assert results[-1].index == 79, "the last frame is always answered"
    # Loose, for busy machines: a queue would let ages grow to seconds.
    assert sorted(ages)[len(ages) // 2] < 0.06
    assert all(r.latency_s >= 0.06 for r in results)


def test_errors_of_the_source_reach_the_caller_after_its_frames() -> None:
    def broken():
        yield 1
        raise OSError("camera unplugged")

    seen = []
    with pytest.raises(OSError, match="unplugged"):
        seen.extend(r.result for r in stream(broken(), lambda frame: frame))
    assert seen in ([1], [])


def test_closing_stops_the_reader() -> None:
    def endless():
        index = 0
        while True:
            yield index
            index += 1
            time.sleep(0.001)

    results = stream(endless(), lambda frame: frame)
    next(results)
    results.close()
    deadline = time.monotonic() + 5
    while any(thread.name == "ovperc-frames" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_slot_keeps_one_item() -> None:
    slot: LatestSlot[str] = LatestSlot()
    for item in "abc":
        assert slot.put(item)
    index, _, skipped, item = slot.take()
    assert (index, skipped, item) == (2, 2, "c")
    assert slot.take(timeout_s=0.01) is None
    slot.close()
    assert not slot.put("d") and slot.take() is None
