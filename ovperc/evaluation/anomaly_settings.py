"""How the maps of an anomaly method are scored."""

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
    """How a set is scored; ``eval.NAME=VALUE`` on the command line.

    Attributes:
        shots: normal training images shown to the method before each category; None for 4 where the method needs them
            and none where it does not. ``shots=4`` without the prefix is read too.
        shot_seed: which images these are.
        size_px: side of the square at which pixels are counted, masks and maps alike; None for each image's own size.
            Published figures are at the size of the network's input (518, 240): figures of different sizes differ.
        batch: images scored together; changes no result.
        pixels: ``exact``, or ``histogram`` for a single pass, which falls back on ``exact`` where the bracket of its
            AUROC and AUPRO is wider than 1e-4.
        max_positives: defective pixels held in memory at a time; more are worked off in bands of scores.
        legacy_pro: also the 200-step estimator of AUPRO behind most published tables.
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
                raise ValueError(f"{PREFIX}{name} must be a whole number of at least {least}; got {value!r}")
        if self.pixels not in get_args(PixelMode):
            raise ValueError(f"unknown {PREFIX}pixels {self.pixels!r}; {suggest(self.pixels, get_args(PixelMode))}")

    @classmethod
    def split(cls, options: Mapping[str, Any]) -> tuple[AnomalyEvalSettings, dict[str, Any]]:
        """Separates these settings from those of the method.

        Raises:
            ValueError: a setting that does not exist; near matches are offered.
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
        """Normal images to show to a predictor.

        Raises:
            ValueError: none for a method that needs some.
        """
        shots = (DEFAULT_SHOTS if predictor.head.needs_fit else 0) if self.shots is None else self.shots
        if predictor.head.needs_fit and not shots:
            raise ValueError("this method learns from normal images and shots=0 gives it none; use shots=1 or more")
        return shots
