"""Region embeddings of an image, computed once for any vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovperc.core.inference import inference
from ovperc.io.coco import encode_rle
from ovperc.tasks.detection.heads import DetectionHeads

_MASK_BATCH = 64


class MaskSource(ABC):
    """Decodes masks of regions on request, so that regions without a detection cost nothing."""

    @abstractmethod
    def codes(self, rows: Sequence[int]) -> tuple[dict[str, Any], ...]:
        """COCO run-length codes of some regions, at the size of the image; one mask is dense at a time."""


@dataclass(frozen=True)
class RegionEmbeddings:
    """Everything about an image that no word changes.

    Attributes:
        boxes: ``(R, 4)`` float32 xyxy in pixels of the image, clipped, each with area.
        objectness: ``(R,)`` float32 in 0..1.
        text: ``(R, E)`` embeddings of the detector's text branch; None without trained heads.
        image: ``(R, E)`` embeddings of ViLD's image branch; None where there is none.
        vlm: ``(R, E)`` unit embeddings of frozen CLIP; None where they are not asked for.
        masks: where masks come from; None for a detector without.
        size_hw: height and width of the image, px.
        fingerprint: of the encoder; banks of another one are refused.
    """

    boxes: Tensor
    objectness: Tensor
    text: Tensor | None
    image: Tensor | None
    vlm: Tensor | None
    masks: MaskSource | None
    size_hw: tuple[int, int]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class HeadMasks(MaskSource):
    """Masks of a trained mask head.

    Attributes:
        heads: the heads.
        pyramid: of one image.
        inputs: ``(R, 4)`` boxes in pixels of the network's input.
        boxes: ``(R, 4)`` the same in pixels of the image.
        size_hw: of the image.
    """

    heads: DetectionHeads
    pyramid: Sequence[Tensor]
    inputs: Tensor
    boxes: Tensor
    size_hw: tuple[int, int]

    @inference()
    def codes(self, rows: Sequence[int]) -> tuple[dict[str, Any], ...]:
        """See :class:`MaskSource`."""
        chosen = torch.as_tensor(rows, dtype=torch.int64, device=self.inputs.device)
        codes: list[dict[str, Any]] = []
        for part in chosen.split(_MASK_BATCH):
            probs = self.heads.mask_logits(self.pyramid, [self.inputs[part]]).float().sigmoid().cpu().numpy()
            for mask, box in zip(probs, self.boxes[part].cpu().numpy(), strict=True):
                codes.append(encode_rle(paste_mask(mask, box, self.size_hw)))
        return tuple(codes)


def paste_mask(probs: np.ndarray, box: np.ndarray, size_hw: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """A mask predicted inside a box, drawn at the size of the image.

    Bilinear between the centres of the mask's cells, falling to 0 over half a cell beyond its border.

    Args:
        probs: ``(s, s)`` float32 in 0..1.
        box: ``(4,)`` xyxy in pixels.
        size_hw: of the image.
        threshold: from which a pixel is inside.

    Returns:
        ``(H, W)`` bool.
    """
    mask = np.zeros(size_hw, dtype=bool)
    (y0, y1), (x0, x1) = (
        (max(0, int(np.floor(box[low]))), min(side, int(np.ceil(box[low + 2]))))
        for low, side in ((1, size_hw[0]), (0, size_hw[1]))
    )
    if y1 <= y0 or x1 <= x0:
        return mask
    rows = _hats(np.arange(y0, y1), box[1], box[3], probs.shape[0])
    columns = _hats(np.arange(x0, x1), box[0], box[2], probs.shape[1])
    mask[y0:y1, x0:x1] = rows @ probs @ columns.T >= threshold
    return mask


def _hats(pixels: np.ndarray, low: float, high: float, cells: int) -> np.ndarray:
    """Bilinear weights of the cells of an interval at pixel centres, ``(pixels, cells)`` float32."""
    places = (pixels + 0.5 - low) / max(float(high - low), 1e-6) * cells - 0.5
    return np.clip(1 - np.abs(places[:, None] - np.arange(cells)), 0, None).astype(np.float32)
