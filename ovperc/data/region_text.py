"""Training batches of region-text alignment: images with texts and optional regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ovperc.registry import FUNCTIONS


class PairTruth(Protocol):
    """Which texts match which images, beyond the pairs of a batch."""

    def table(self) -> Tensor:
        """``(B, B)`` bool, text by image."""

    def join(self, others: Sequence[Any]) -> PairTruth:
        """Concatenates the matches of several batches, starting with this one."""


@dataclass(frozen=True)
class RegionTextBatch:
    """Images with texts and regions; an objective reads the fields it needs.

    Attributes:
        images: ``(B, 3, S, S)`` uint8 RGB.
        texts: one per image.
        truth: matches between texts and other images; ``None`` if each text matches its own image only.
        boxes: one ``(n_i, 4)`` float32 per image, xyxy px.
        phrases: one text per box of each image.
        seeds: ``(B,)`` int64, seeds of an objective's random draws per image, which therefore do not depend on the
            process.
    """

    images: Tensor
    texts: tuple[str, ...] = ()
    truth: PairTruth | None = None
    boxes: tuple[Tensor, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    seeds: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        for name in ("texts", "boxes", "phrases"):
            if getattr(self, name) and len(getattr(self, name)) != count:
                raise ValueError(f"{name} must have one entry per image ({count}); got {len(getattr(self, name))}")
        if self.phrases and [len(part) for part in self.phrases] != [len(part) for part in self.boxes]:
            raise ValueError("phrases must have one text per box of each image")

    def generators(self) -> list[torch.Generator]:
        """One generator per image.

        Raises:
            ValueError: the batch has no seeds.
        """
        if self.seeds is None:
            raise ValueError("this objective is random and needs a batch with one seed per image")
        return [torch.Generator().manual_seed(int(seed)) for seed in self.seeds]


@FUNCTIONS.register_module()
def region_text_batch(items: Sequence[dict[str, Any]]) -> dict[str, RegionTextBatch]:
    """Collate function: items with ``image`` ``(3, S, S)`` uint8, and optional ``text`` and ``seed``."""
    images = torch.stack([item["image"] for item in items])
    texts = tuple(item["text"] for item in items if "text" in item)
    seeds = torch.tensor([item["seed"] for item in items]) if all("seed" in item for item in items) else None
    return {"batch": RegionTextBatch(images, texts, seeds=seeds)}
