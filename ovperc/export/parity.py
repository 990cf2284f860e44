"""How far an exported folder is from the method it was made of: labels, confidence, mIoU on the world, time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ovperc.core.timing import paired_ratio
from ovperc.export.scenes import BENCHMARK

STATED_AGREEMENT: dict[str, float] = {"fp32": 0.999, "fp16": 0.995, "int8": 0.97}


@dataclass(frozen=True)
class Parity:
    """Figures of a comparison.

    Attributes:
        images: compared.
        label_agreement: share of equal labels.
        worst_image: smallest share of one image.
        max_confidence_error, mean_confidence_error: absolute difference of the confidence.
        miou_eager, miou_exported: of both against the truth, percent; ``None`` where the words are not the world's.
        stated_agreement: what the precision promises.
        benchmark: that the images are of.
    """

    images: int
    label_agreement: float
    worst_image: float
    max_confidence_error: float
    mean_confidence_error: float
    stated_agreement: float
    miou_eager: float | None = None
    miou_exported: float | None = None
    benchmark: str = BENCHMARK

    @classmethod
    def measured(
        cls,
        shares: Sequence[float],
        errors: Sequence[np.ndarray],
        precision: str,
        mious: tuple[float | None, float | None] = (None, None),
        benchmark: str = BENCHMARK,
    ) -> Parity:
        """Sums up images.

        Args:
            shares: of agreeing pixels of each image.
            errors: absolute differences of each image, any shapes.
            precision: of the export; decides the stated agreement.
            mious: of eager and exported, percent.
            benchmark: that the images are of.
        """
        pixels = [error.size for error in errors]
        return cls(
            images=len(shares),
            label_agreement=float(np.average(shares, weights=pixels)),
            worst_image=float(min(shares)),
            max_confidence_error=float(max(error.max() for error in errors)),
            mean_confidence_error=float(np.average([error.mean() for error in errors], weights=pixels)),
            miou_eager=mious[0],
            miou_exported=mious[1],
            stated_agreement=STATED_AGREEMENT[precision],
            benchmark=benchmark,
        )

    @property
    def held(self) -> bool:
        """Whether the agreement is at least the stated one."""
        return self.label_agreement >= self.stated_agreement

    @property
    def miou_loss(self) -> float | None:
        """What the export costs, percentage points of mIoU."""
        return None if self.miou_eager is None else self.miou_eager - self.miou_exported

    def as_dict(self) -> dict[str, Any]:
        """For the manifest, rounded to six digits."""
        figures = {**asdict(self), "miou_loss": self.miou_loss}
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> Parity:
        """Reads what :meth:`as_dict` gave."""
        return cls(**{entry.name: figures[entry.name] for entry in fields(cls)})


@dataclass(frozen=True)
class Check:
    """Eager and exported compared.

    Attributes:
        parity: agreement.
        latency: times, and what they were taken on.
    """

    parity: Parity
    latency: Mapping[str, Any]


def paired_latency(eager: Callable[[], object], exported: Callable[[], object]) -> dict[str, Any]:
    """Times of both run in turn, for the manifest: medians in milliseconds, and the median of the pairs' ratios."""
    timed = paired_ratio(exported, eager, runs=5)
    return {
        "eager_ms": 1e3 * timed.base_s,
        "exported_ms": 1e3 * timed.ours_s,
        "of_eager": timed.ratio,
        "cpus": os.cpu_count(),
    }
