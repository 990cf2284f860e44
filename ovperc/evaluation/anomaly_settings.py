"""Evaluation settings of anomaly localization."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ovperc.core.naming import suggest
from ovperc.evaluation.metrics.anomaly_counts import MAX_POSITIVES

if TYPE_CHECKING:
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor

PREFIX = "eval."
DEFAULT_SHOTS = 4
PixelMode = Literal["exact", "histogram"]


@dataclass(frozen=True)
class AnomalyEvalSettings:
    """Evaluation settings; ``eval.NAME=VALUE`` on the command line.

    Attributes:
        shots: normal training images per category to fit the method with; None for 4 if the method needs them, else
            none. ``shots=4`` also works without the prefix.
        shot_seed: seed of their selection.
        size_px: side of the square to which masks and maps are resized; None for each image's own size. Published
            results use the size of the network's input (518, 240), and results at different sizes are not comparable.
        batch: batch size; does not affect results.
        pixels: ``exact``, or ``histogram`` for a single pass, which falls back to ``exact`` if the bracket of its
            AUROC and AUPRO is wider than 1e-4.
        max_positives: anomalous pixels held in memory at a time; more are processed in bands of scores.
        legacy_pro: also compute the 200-step AUPRO estimator used in most published tables.
    """

    shots: int | None = None
    shot_seed: int = 0
    size_px: int | None = None
    batch: int = 8
    pixels: PixelMode = "exact"
    max_positives: int = MAX_POSITIVES
    legacy_pro: bool = True

    def __post_init__(self) -> None:
        for name, least in (("shots", 0), ("size_px", 8), ("batch", 1), ("max_positives", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise ValueError(f"{PREFIX}{name} must be an integer of at least {least}; got {value!r}")
        if self.pixels not in get_args(PixelMode):
            raise ValueError(f"unknown {PREFIX}pixels {self.pixels!r}; {suggest(self.pixels, get_args(PixelMode))}")

    @classmethod
    def split(cls, options: Mapping[str, Any]) -> tuple[AnomalyEvalSettings, dict[str, Any]]:
        """Separates these settings from those of the method.

        Raises:
            ValueError: a setting does not exist; the message suggests close matches.
        """
        known = {entry.name for entry in dataclasses.fields(cls)}
        own = {name.removeprefix(PREFIX): value for name, value in options.items() if name.startswith(PREFIX)}
        rest = {name: value for name, value in options.items() if not name.startswith(PREFIX)}
        if "shots" in rest:
            own["shots"] = rest.pop("shots")
        unknown = sorted(set(own) - known)
        if unknown:
            raise ValueError(f"there is no setting {PREFIX}{unknown[0]}; {suggest(unknown[0], known)}")
        return cls(**own), rest

    def shots_for(self, predictor: AnomalyPredictor) -> int:
        """Number of normal images for a predictor.

        Raises:
            ValueError: ``shots`` is 0 for a method that needs normal images.
        """
        shots = (DEFAULT_SHOTS if predictor.head.needs_fit else 0) if self.shots is None else self.shots
        if predictor.head.needs_fit and not shots:
            raise ValueError("this method needs normal images, but shots is 0; use shots=1 or more")
        return shots
