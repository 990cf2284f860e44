"""How each test set of detection is scored, and what has to be said beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Metric = Literal["coco", "lvis", "voc"]


@dataclass(frozen=True)
class DetectionEvalSettings:
    """The protocol of one test set.

    Attributes:
        metric: whose average precision.
        kind: what is compared: ``segm`` where detector and set have masks, or always ``bbox``.
        per_image: most objects of an image that count.
        headline: figure that papers quote.
        regions: whether annotated places are named too.
        tags: what a reader has to know: the split, the vocabulary, the images.
    """

    metric: Metric
    kind: Literal["bbox", "segm"] = "bbox"
    per_image: int = 100
    headline: str = "AP"
    regions: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


PROTOCOLS: Mapping[str, DetectionEvalSettings] = {
    "world-ovd": DetectionEvalSettings(
        "coco",
        headline="AP50.novel",
        regions=True,
        tags={"split": "held-out pattern-colour pairs are novel, no training image or caption shows one"},
    ),
    "ov_coco": DetectionEvalSettings(
        "coco", headline="AP50.novel", tags={"split": "OV-COCO, 48 base and 17 novel classes, scored together"}
    ),
    "ov_lvis": DetectionEvalSettings(
        "lvis",
        kind="segm",
        per_image=300,
        headline="APr",
        tags={"split": "LVIS v1, 866 base (f, c) and 337 novel (r) classes", "metric": "federated"},
    ),
    "coco_transfer": DetectionEvalSettings("coco", tags={"split": "none: transfer, all 80 classes alike"}),
    "objects365_transfer": DetectionEvalSettings(
        "coco", per_image=300, tags={"split": "none: transfer, all 365 classes alike"}
    ),
    "voc07_transfer": DetectionEvalSettings(
        "voc", headline="AP50", tags={"split": "none: transfer, all 20 classes alike", "metric": "11 points"}
    ),
}
DEFAULT = DetectionEvalSettings("coco")


def protocol_of(benchmark: str) -> DetectionEvalSettings:
    """The protocol of a test set; of one that is not listed, COCO's boxes."""
    return PROTOCOLS.get(benchmark, DEFAULT)
