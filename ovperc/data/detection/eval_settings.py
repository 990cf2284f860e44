"""How a benchmark of detection is scored, and what readers of its figures have to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Metric = Literal["coco", "lvis", "voc"]


@dataclass(frozen=True)
class DetectionEvalSettings:
    """The protocol of one benchmark.

    Attributes:
        metric: whose average precision.
        kind: what is compared: ``segm`` where detector and set have masks, or always ``bbox``.
        per_image: most objects of an image that count.
        headline: figure that papers quote.
        regions: whether annotated places are named too.
        tags: what a reader has to know: the split, the vocabulary, the images.
    """

    metric: Metric = "coco"
    kind: Literal["bbox", "segm"] = "bbox"
    per_image: int = 100
    headline: str = "AP"
    regions: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
