"""What a predictor keeps apart: an image, read by the tower, and an object, in words."""

from __future__ import annotations

from dataclasses import dataclass

from ovperc.tasks.anomaly.head import HeadFeatures
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tiling import Geometry


@dataclass(frozen=True)
class AnomalyQuery:
    """An object and how its images are reported.

    Attributes:
        object_name: what the images show.
        texts: the object, normal and anomalous; None for heads that read no words.
        min_area_px: smaller regions are left out.
    """

    object_name: str
    texts: StateTexts | None
    min_area_px: int = 1


@dataclass(frozen=True)
class AnomalyFeatures:
    """One image, ready for any query.

    Attributes:
        parts: what the head reads of the tower, by forward pass; the tiles of the image in order.
        plan: from the tiles to the image.
    """

    parts: tuple[HeadFeatures, ...]
    plan: Geometry
