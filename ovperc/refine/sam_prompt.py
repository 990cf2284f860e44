"""Refinement by SAM's prompts: a coarse answer is cut into regions, and SAM redraws each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.sam import SamBackbone, load_sam
from ovperc.backbones.sam_prompts import Prompts, SamImage, SamPrompter
from ovperc.refine.base import LabelRefiner, RefinedLabels
from ovperc.registry import REFINERS


@dataclass(frozen=True)
class Region:
    """One connected piece of a class, in pixels of the halved map.

    Attributes:
        label: its class.
        box: ``(x0, y0, x1, y1)``, tight and inclusive.
        point: ``(x, y)`` where the class scores highest inside.
        mask: ``(h, w)`` bool.
    """

    label: int
    box: tuple[int, int, int, int]
    point: tuple[int, int]
    mask: np.ndarray


def find_regions(labels: np.ndarray, scores: np.ndarray, coarse_threshold: float, min_area: int) -> list[Region]:
    """Connected regions (8 neighbours) of every class that is sure anywhere.

    Args:
        labels: ``(h, w)`` int, halved map.
        scores: ``(C, h, w)`` float, halved.
        coarse_threshold: pixels whose best score is below it belong to no region, classes that never reach it
            have none; 0 or less leaves all in.
        min_area: smaller regions are dropped, in pixels of the halved map.

    Returns:
        Regions by class, then in the order of their first pixel.
    """
    best = scores.max(axis=0)
    marked = np.where(best < coarse_threshold, len(scores), labels) if coarse_threshold > 0 else labels
    regions = []
    for label in np.unique(marked):
        if label >= len(scores) or scores[label].max() < coarse_threshold:
            continue
        count, pieces, stats, _ = cv2.connectedComponentsWithStats((marked == label).astype(np.uint8), connectivity=8)
        for piece in range(1, count):
            x, y, width, height, area = stats[piece]
            if area < min_area:
                continue
            window = (slice(y, y + height), slice(x, x + width))
            inside = np.where(pieces[window] == piece, scores[label][window], -np.inf)
            row, column = np.unravel_index(inside.argmax(), inside.shape)
            box = (int(x), int(y), int(x + width - 1), int(y + height - 1))
            regions.append(Region(int(label), box, (int(x + column), int(y + row)), pieces == piece))
    return regions


@REFINERS.register_module()
class SamPromptRefiner(LabelRefiner):
    """Trident's last step (Shi et al., section 3.4), usable after any method.

    The coarse answer is halved; every connected region of a class that is sure anywhere becomes a prompt of box, point
    and rough mask; masks that SAM trusts redraw the class, the others leave it as it was. All regions of all
    classes are decoded in batches.

    Departures: mask prompts are batched and normalised over channels (the released code passes them unbatched, so
    that SAM's LayerNorm runs along the image's height); where no mask is trusted, scores too stay as they were.

    Args:
        weights: of SAM, as for ``load_sam``.
        backbone: a loaded SAM, in place of ``weights``.
        coarse_threshold: scores below it are not asked about (0.2 on VOC, 0.05 on ADE20K and COCO-Stuff).
        iou_threshold: predicted IoU above which a mask is trusted.
        min_area: smallest region, in pixels of the halved map, beside a SAM of 1024 px; it shrinks with the square of
            a smaller one's side.
        mask_factor: rough masks are this times the score.
        use_box, use_point, use_mask: which prompts are given.
        parity: mask prompts are normalised along the height, as in the released code.
        device, dtype: as for ``load_sam``.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        backbone: SamBackbone | None = None,
        coarse_threshold: float = 0.2,
        iou_threshold: float = 0.8,
        min_area: int = 225,
        mask_factor: float = 0.005,
        use_box: bool = True,
        use_point: bool = True,
        use_mask: bool = True,
        parity: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if (weights is None) == (backbone is None):
            raise ValueError("SamPromptRefiner needs either weights (a name or a file) or a loaded backbone")
        if not (use_box or use_point):
            raise ValueError("a prompt needs a box or a point; set use_box or use_point")
        backbone = load_sam(weights, device=device, dtype=dtype) if backbone is None else backbone
        self.prompter = SamPrompter(backbone, height_norm=parity)
        self.coarse_threshold = coarse_threshold
        self.iou_threshold = iou_threshold
        self.min_area = round(min_area * (backbone.image_size_px / 1024) ** 2)
        self.mask_factor = mask_factor
        self.use_box, self.use_point, self.use_mask = use_box, use_point, use_mask

    def embed(self, image: np.ndarray) -> SamImage:
        """SAM's view of an image; serves any number of vocabularies."""
        return self.prompter.embed(image)

    @torch.inference_mode()
    def redraw(self, image: SamImage, labels: Tensor, scores: Tensor) -> RefinedLabels:
        """Refines a coarse answer.

        Args:
            image: from :meth:`embed`.
            labels: ``(H, W)`` int32.
            scores: ``(C, H, W)`` float32 probabilities.
        """
        size = tuple(labels.shape)
        half = tuple(max(side // 2, 1) for side in size)
        small = F.interpolate(scores[None], half, mode="bilinear", align_corners=False)[0]
        marks = F.interpolate(labels[None, None].float(), half, mode="nearest")[0, 0].int()
        regions = find_regions(marks.cpu().numpy(), small.cpu().numpy(), self.coarse_threshold, self.min_area)
        if not regions:
            return RefinedLabels(labels, scores, 0, 0)
        logits, quality = self.prompter.decode(image, self._prompts(image, regions, small, half))
        trusted = (quality[:, 0] > self.iou_threshold).tolist()
        if not any(trusted):
            return RefinedLabels(labels, scores, len(regions), 0)
        redrawn = self._draw(image, regions, logits, trusted, scores)
        found = redrawn.sum(dim=0) > 0
        answer = torch.where(found, redrawn.argmax(dim=0).to(labels.dtype), labels)
        for region, good in zip(regions, trusted, strict=True):
            if not good:
                kept = F.interpolate(torch.from_numpy(region.mask)[None, None].float(), size, mode="nearest")[0, 0] > 0
                plane = redrawn[region.label]
                plane[kept] = torch.maximum(plane, scores[region.label])[kept]
        return RefinedLabels(answer, redrawn, len(regions), sum(trusted))

    def _prompts(self, image: SamImage, regions: list[Region], small: Tensor, half: tuple[int, int]) -> Prompts:
        """Prompts in pixels of the original image."""
        device = image.embedding.device
        scale = torch.tensor([image.original_hw[1] / half[1], image.original_hw[0] / half[0]], device=device)
        boxes = torch.tensor([region.box for region in regions], dtype=torch.float32, device=device) * scale.repeat(2)
        points = torch.tensor([[region.point] for region in regions], dtype=torch.float32, device=device) * scale
        planes = {label: self._rough(image, small[label]) for label in {region.label for region in regions}}
        return Prompts(
            points=points if self.use_point else None,
            labels=torch.ones(len(regions), 1, device=device) if self.use_point else None,
            boxes=boxes if self.use_box else None,
            masks=torch.stack([planes[region.label] for region in regions]) if self.use_mask else None,
        )

    def _rough(self, image: SamImage, plane: Tensor) -> Tensor:
        """A class's scores as a mask prompt, ``(h, w) -> (1, 4g, 4g)``."""
        grid = self.prompter.mask_grid
        longest = max(image.original_hw)
        size = [max(round(side * grid / longest), 1) for side in image.original_hw]
        resized = F.interpolate(plane[None, None], size, mode="bilinear", align_corners=False)[0]
        rough = torch.where(resized > self.coarse_threshold, self.mask_factor * resized, 0.0)
        return F.pad(rough, (0, grid - size[1], 0, grid - size[0]))

    def _draw(
        self, image: SamImage, regions: list[Region], logits: Tensor, trusted: list[bool], scores: Tensor
    ) -> Tensor:
        """``G``: for every class the best ``sigmoid(logit) score`` inside its trusted masks, 0 elsewhere."""
        drawn = torch.zeros_like(scores)
        for region, mask, good in zip(regions, logits, trusted, strict=True):
            if not good:
                continue
            upscaled = self.prompter.upscale(image, mask[None], tuple(scores.shape[1:]))[0, 0]
            probability = upscaled.sigmoid() * scores[region.label]
            drawn[region.label] = torch.maximum(drawn[region.label], torch.where(upscaled > 0, probability, 0.0))
        return drawn
