"""Peak resident memory of one call, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class PeakMemory:
    """Memory of one call in MiB: resident before it, at the peak, and the difference."""

    before_mib: float
    peak_mib: float

    @property
    def extra_mib(self) -> float:
        """What the call needed on top of what was there before."""
        return self.peak_mib - self.before_mib


def _status_mib(field: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{_STATUS} has no {field}; peak memory is measured on Linux only")


def _measure(make_call: Callable[..., Callable[[], object]], arguments: dict[str, Any], queue: Any) -> None:
    call = make_call(**arguments)
    _CLEAR.write_text("5")  # resets the high-water mark of resident memory
    before = _status_mib("VmRSS")
    call()
    queue.put((before, _status_mib("VmHWM")))


def peak_memory(make_call: Callable[..., Callable[[], object]], **arguments: Any) -> PeakMemory:
    """Runs ``make_call(**arguments)()`` in a new process and measures the inner call only.

    Args:
        make_call: importable function that prepares everything and returns the call to measure.
        **arguments: passed to ``make_call``; must be picklable.

    Raises:
        RuntimeError: the process died (out of memory, most likely).
    """
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measure, args=(make_call, arguments, queue))
    process.start()
    while process.is_alive() and queue.empty():
        process.join(0.1)
    if queue.empty() and process.exitcode:
        raise RuntimeError(f"the measured process ended with exit code {process.exitcode}")
    before, peak = queue.get(timeout=30)
    process.join()
    return PeakMemory(before, peak)
