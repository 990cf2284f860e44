"""Which classes of COCO a detector may see boxes of (OV-COCO: Bansal et al., ECCV 2018; Zareian et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# fmt: off
OV_COCO_BASE: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "train", "truck", "boat", "bench", "bird", "horse", "sheep", "bear",
    "zebra", "giraffe", "backpack", "handbag", "suitcase", "frisbee", "skis", "kite", "surfboard", "bottle", "fork",
    "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "pizza", "donut", "chair", "bed",
    "toilet", "tv", "laptop", "mouse", "remote", "microwave", "oven", "toaster", "refrigerator", "book", "clock",
    "vase", "toothbrush",
)
OV_COCO_NOVEL: tuple[str, ...] = (
    "airplane", "bus", "cat", "dog", "cow", "elephant", "umbrella", "tie", "snowboard", "skateboard", "cup", "knife",
    "cake", "couch", "keyboard", "sink", "scissors",
)
OV_COCO_UNUSED: tuple[str, ...] = (
    "traffic light", "fire hydrant", "stop sign", "parking meter", "sports ball", "baseball bat", "baseball glove",
    "tennis racket", "wine glass", "hot dog", "potted plant", "dining table", "cell phone", "teddy bear", "hair drier",
)
"""In COCO, but left out of both groups, as their names are not in the hierarchy that the split was drawn from."""
# fmt: on
COCO_GROUPS: Mapping[str, tuple[str, ...]] = {"base": OV_COCO_BASE, "novel": OV_COCO_NOVEL}
LVIS_BASE = frozenset("fc")
"""Frequencies whose boxes may be seen (866 classes of v1); the 337 rare ones are novel."""


def groups_of(names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Labels of each group; a group without any of the names is left out."""
    found = {
        group: tuple(label for label, name in enumerate(names) if name in set(members))
        for group, members in groups.items()
    }
    return {group: labels for group, labels in found.items() if labels}


def as_words(name: str) -> str:
    """A category's name as it is spoken: ``"bow_(weapon)"`` -> ``"bow (weapon)"``, ``"Flag "`` -> ``"flag"``."""
    return name.replace("_", " ").replace("/", " or ").strip().rstrip(".").lower()
