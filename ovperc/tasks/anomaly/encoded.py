"""Encoded images and queries of anomaly methods."""

from __future__ import annotations

from dataclasses import dataclass

from ovperc.tasks.anomaly.head import HeadFeatures
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tiling import Geometry


@dataclass(frozen=True)
class AnomalyQuery:
    """A query: the object, its text embeddings, and the report settings.

    Attributes:
        object_name: name of the inspected object.
        texts: embeddings of the normal and the anomalous object; None for heads that use no text.
        min_area_px: minimum area of a region.
    """

    object_name: str
    texts: StateTexts | None
    min_area_px: int = 1


@dataclass(frozen=True)
class AnomalyFeatures:
    """An encoded image, reusable for any query.

    Attributes:
        parts: features for the head, per forward pass; tiles in order.
        plan: mapping from tiles to the image.
    """

    parts: tuple[HeadFeatures, ...]
    plan: Geometry
