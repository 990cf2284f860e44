"""The background policy of a vocabulary; standard library only, for machines without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Background:
    """How pixels that belong to no named class are labelled.

    Attributes:
        words: prompts of an explicit background class; empty for none.
        threshold: pixels whose best confidence is below it become background; 0 switches it off.
    """

    words: tuple[str, ...] = ()
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"background threshold is a confidence in [0, 1]; got {self.threshold}")

    @property
    def enabled(self) -> bool:
        """Whether label 0 is reserved for background."""
        return bool(self.words) or self.threshold > 0
