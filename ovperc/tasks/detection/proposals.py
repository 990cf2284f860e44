"""Regions found by segment-anything without being told what for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from ovperc.backbones.sam import SamBackbone, load_sam
from ovperc.backbones.sam_prompts import Prompts, SamImage, SamPrompter
from ovperc.core.inference import inference
from ovperc.io.coco import encode_rle
from ovperc.registry import PROPOSERS
from ovperc.tasks.detection.encoded import MaskSource
from ovperc.tasks.detection.region_detector import Proposals


@dataclass(frozen=True)
class SamMasks(MaskSource):
    """Masks of segment-anything, kept small.

    Attributes:
        prompter: enlarges them.
        image: the embedded image.
        logits: ``(R, 4g, 4g)`` of the padded square.
    """

    prompter: SamPrompter
    image: SamImage
    logits: Tensor

    @inference()
    def codes(self, rows: Sequence[int]) -> tuple[dict[str, Any], ...]:
        """See :class:`MaskSource`."""
        return tuple(encode_rle(self.dense(int(row))) for row in rows)

    def dense(self, row: int) -> np.ndarray:
        """One mask at the size of the image, ``(H, W)`` bool."""
        large = self.prompter.upscale(self.image, self.logits[row : row + 1, None])
        return (large[0, 0] > 0).cpu().numpy()


@PROPOSERS.register_module()
class SamEverything:
    """segment-anything asked at a grid of points, three answers each (Kirillov et al., ICCV 2023, section 5.3).

    Answers are kept by their predicted IoU and their stability (the IoU of the masks at logits ``+1`` and ``-1``), and
    of two that overlap the lesser goes. Boxes are measured on masks at the image's own size.

    Args:
        weights: as for ``load_sam``.
        points: points on each axis.
        min_quality: least predicted IoU.
        min_stability: least stability.
        nms_iou: overlap of boxes above which the lesser goes.
        max_regions: most regions.
        min_area: smallest share of the image.
        max_area: largest share of the image; larger regions are grounds.
        device: where it computes.
        dtype: of the encoder.
        backbone: a loaded SAM, in place of ``weights``.
    """

    def __init__(
        self,
        weights: str | Path = "sam-mini",
        points: int = 32,
        min_quality: float = 0.88,
        min_stability: float = 0.9,
        nms_iou: float = 0.7,
        max_regions: int = 200,
        min_area: float = 0.0005,
        max_area: float = 0.8,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        backbone: SamBackbone | None = None,
    ) -> None:
        if points < 1 or max_regions < 1:
            raise ValueError(f"points and max_regions must be at least 1; got {points} and {max_regions}")
        self.prompter = SamPrompter(backbone or load_sam(weights, device=device, dtype=dtype))
        self.points = points
        self.min_quality = min_quality
        self.min_stability = min_stability
        self.nms_iou = nms_iou
        self.max_regions = max_regions
        self.min_area = min_area
        self.max_area = max_area

    @inference()
    def propose(self, image: np.ndarray) -> Proposals:
        """Regions of an image ``(H, W, 3)`` uint8 RGB, by falling predicted IoU."""
        embedded = self.prompter.embed(image)
        points = grid_points(self.points, embedded.original_hw).to(embedded.embedding.device)
        labels = torch.ones(len(points), 1, device=points.device)
        logits, quality = self.prompter.decode(embedded, Prompts(points[:, None], labels), multimask=True)
        logits, quality = self._sure(logits.flatten(0, 1), quality.flatten(), self._inside(embedded))
        source = SamMasks(self.prompter, embedded, logits)
        boxes = [mask_box(source.dense(row)) for row in range(len(logits))]
        table = torch.tensor(boxes, dtype=torch.float32, device=logits.device).view(-1, 4)
        kept = ((table[:, 2:] - table[:, :2]).amin(dim=1) > 0).nonzero().flatten()
        rows, columns = self._inside(embedded)
        coarse = logits[kept, :rows, :columns] > 0
        return Proposals(
            table[kept], quality[kept].clamp(0, 1), SamMasks(self.prompter, embedded, logits[kept]), coarse
        )

    def _inside(self, embedded: SamImage) -> tuple[int, int]:
        """Rows and columns of mask logits that lie on the image, not on its padding."""
        share = self.prompter.mask_grid / self.prompter.backbone.image_size_px
        height, width = (max(1, round(side * share)) for side in embedded.input_hw)
        return height, width

    def _sure(self, logits: Tensor, quality: Tensor, inside: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The answers that are worth keeping, best first."""
        visible = logits[:, : inside[0], : inside[1]]
        area = (visible > 0).float().mean(dim=(1, 2))
        stability = (visible > 1).sum(dim=(1, 2)) / (visible > -1).sum(dim=(1, 2)).clamp(min=1)
        sure = (quality >= self.min_quality) & (stability >= self.min_stability)
        rows = (sure & (area >= self.min_area) & (area <= self.max_area)).nonzero().flatten()
        boxes = coarse_boxes(visible[rows] > 0)
        rows = rows[nms(boxes, quality[rows], self.nms_iou)[: self.max_regions]]
        return logits[rows], quality[rows]


def grid_points(count: int, size_hw: tuple[int, int]) -> Tensor:
    """``(count^2, 2)`` float32 x, y in the middles of equal cells, row-major."""
    middles = (torch.arange(count) + 0.5) / count
    y, x = torch.meshgrid(middles * size_hw[0], middles * size_hw[1], indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def coarse_boxes(masks: Tensor) -> Tensor:
    """Boxes of masks ``(R, h, w)`` bool in cells, right and bottom edges excluded; empty masks give zeros."""
    sides = []
    for axis in (1, 2):
        hit = masks.any(dim=axis)
        length = hit.shape[1]
        first = hit.float().argmax(dim=1)
        last = length - hit.flip(1).float().argmax(dim=1)
        filled = hit.any(dim=1)
        sides.append((first * filled, last * filled))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], dim=1).float()


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """``(x0, y0, x1, y1)`` of a mask ``(H, W)`` bool, right and bottom edges excluded; zeros for an empty one."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
