"""Images with a text each, and regions where they are known: what region-text alignment is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ovperc.registry import FUNCTIONS


class PairTruth(Protocol):
    """Which texts are true of which images, beyond the pairs of a batch."""

    def table(self) -> Tensor:
        """``(B, B)`` bool, text by image."""

    def join(self, others: Sequence[Any]) -> PairTruth:
        """The truth of several batches laid end to end, this one first."""


@dataclass(frozen=True)
class RegionTextBatch:
    """Images and what is said of them; an objective reads what it needs.

    Attributes:
        images: ``(B, 3, S, S)`` uint8 RGB.
        texts: one per image.
        truth: of texts about other images; ``None`` where a text is taken to be true of its own image only.
        boxes: one ``(n_i, 4)`` float32 per image, xyxy px.
        phrases: one text for each box of each image.
        seeds: ``(B,)`` int64, what an objective draws for each image depends on; so it is the same whichever
            process has the image.
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
                raise ValueError(
                    f"{name} must have one entry for each of {count} images; got {len(getattr(self, name))}"
                )
        if self.phrases and [len(part) for part in self.phrases] != [len(part) for part in self.boxes]:
            raise ValueError("phrases must have one text for each box of each image")

    def generators(self) -> list[torch.Generator]:
        """A generator for each image.

        Raises:
            ValueError: the batch has no seeds.
        """
        if self.seeds is None:
            raise ValueError("this objective draws at random and needs a batch with seeds, one for each image")
        return [torch.Generator().manual_seed(int(seed)) for seed in self.seeds]


@FUNCTIONS.register_module()
def region_text_batch(items: Sequence[dict[str, Any]]) -> dict[str, RegionTextBatch]:
    """Collate function: items with ``image`` ``(3, S, S)`` uint8, and ``text`` and ``seed`` where they have them."""
    images = torch.stack([item["image"] for item in items])
    texts = tuple(item["text"] for item in items if "text" in item)
    seeds = torch.tensor([item["seed"] for item in items]) if all("seed" in item for item in items) else None
    return {"batch": RegionTextBatch(images, texts, seeds=seeds)}
