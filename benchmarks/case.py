"""A benchmark case: a name, what it measures, and the figure it is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measurement:
    """One figure.

    Attributes:
        case: name of the case that measured it.
        setting: what was measured, in words (model, sizes).
        value: the figure.
        unit: its unit; ``x`` for ratios.
        limit: the value it is held to, or None where it stands for information only.
        at_most: whether ``limit`` is an upper bound (else a lower one).
        detail: times or sizes behind the figure.
    """

    case: str
    setting: str
    value: float
    unit: str
    limit: float | None = None
    at_most: bool = True
    detail: str = ""

    @property
    def held(self) -> bool | None:
        """Whether the figure keeps its limit; None without one."""
        if self.limit is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass(frozen=True)
class Options:
    """What the command line passes to a case."""

    device: str = "cpu"
    dtype: str = "float32"
    runs: int = 7
    threads: int | None = None


@dataclass(frozen=True)
class Case:
    """A named group of measurements; ``run`` imports what it needs by itself."""

    name: str
    summary: str
    run: Callable[[Options], Iterable[Measurement]] = field(repr=False)
