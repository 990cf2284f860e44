"""The two traced parts of a detector: maps and candidate boxes of an image, and what a box shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.rpn import concat_box_prediction_layers

from ovperc.core.boxes import clip_boxes
from ovperc.export.parts import ExportError
from ovperc.export.pixel_ops import check_resize_op
from ovperc.runtime.region_scores import POLICIES
from ovperc.tasks.detection.heads import POOLED

if TYPE_CHECKING:
    from ovperc.tasks.detection.pooler import FPNRoIPooler
    from ovperc.tasks.detection.region_detector import RegionDetector


def check_detection_exportable(detector: RegionDetector) -> None:
    """Refuses detectors whose parts have no form in the graph.

    Raises:
        ExportError: naming the part.
    """
    check_resize_op(detector.resize)
    if detector.trained is None or detector.proposer is not None:
        raise ExportError("detectors that take their regions from elsewhere have no exported form; use fvlm")
    if detector.trained.resnet is not None:
        raise ExportError("detectors on a ResNet have no exported form; use fvlm")
    if detector.fusion.policy not in POLICIES or detector.vlm.kind != "dense":
        raise ExportError(
            f"the scores {detector.fusion.policy!r} on {detector.vlm.kind!r} regions have no exported form; pass "
            "fusion.policy='fvlm' and vlm.kind='dense'"
        )


class CandidateMaps(nn.Module):
    """One image to pyramid levels, the dense map and candidate boxes.

    Args:
        detector: with trained heads.
        inputs_hw: size of the network's input, whole patches.

    Attributes:
        counts: candidates of each level of the pyramid.
        outputs: levels, ``dense``, ``logits`` ``(N,)`` and ``boxes`` ``(N, 4)``, of the network's input, clipped.
    """

    def __init__(self, detector: RegionDetector, inputs_hw: tuple[int, int]) -> None:
        super().__init__()
        self.backbone, self.heads = detector.clip.backbone, detector.trained.heads
        self._tower, self._inputs_hw = detector.tower, inputs_hw
        rpn = self.heads.rpn
        with torch.no_grad():
            levels = self.heads.neck(self._tower(torch.zeros(1, 3, *inputs_hw)).levels)
            anchors = [
                rpn.anchor_generator.level(stride, tuple(part.shape[-2:]), part)
                for stride, part in zip(rpn.anchor_generator.strides, levels, strict=True)
            ]
        self.counts = [len(part) for part in anchors]
        self.register_buffer("anchors", torch.cat(anchors))
        self.outputs = (*(f"level_{index}" for index in range(len(levels))), "dense", "logits", "boxes")

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """``(1, 3, h, w)`` float32, normalised, to :attr:`outputs`."""
        maps, rpn = self._tower(pixels), self.heads.rpn
        levels = self.heads.neck(maps.levels)
        logits, deltas = concat_box_prediction_layers(*rpn.head(levels))
        boxes = rpn.box_coder.decode_single(deltas, self.anchors)
        return *levels, maps.dense, logits.flatten(), clip_boxes(boxes, self._inputs_hw)


class RegionDescriber(nn.Module):
    """Boxes to embeddings.

    Args:
        detector: with trained heads.
        inputs_hw: size of the network's input.
        size_hw: of the image.
    """

    outputs: tuple[str, ...] = ("moved", "text", "vlm")

    def __init__(self, detector: RegionDetector, inputs_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.heads = detector.trained.heads
        self._inputs_hw, self._size_hw = inputs_hw, size_hw
        self._stride_px = float(detector.clip.backbone.stride_px)
        scale = [new / old for new, old in zip(size_hw, inputs_hw, strict=True)]
        self.register_buffer("scale", torch.tensor([*scale[::-1], *scale[::-1]]))

    def forward(self, boxes: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        """``(R, 4)`` in pixels of the network's input, levels and dense map.

        Returns:
            Boxes in pixels of the image ``(R, 4)``, the detector's embeddings ``(R, E)`` and CLIP's ``(R, E)``.
        """
        *levels, dense = maps
        text, deltas = self.heads.region_head(pool_boxes(self.heads.pool_boxes, levels, boxes))
        moved = clip_boxes(self.heads.decode(deltas, boxes, self._inputs_hw) * self.scale, self._size_hw)
        grid_hw = (dense.shape[-2], dense.shape[-1])
        places = (moved / self.scale) / self._stride_px - 0.5
        rows = axis_shares(places[:, 1], places[:, 3], grid_hw[0])
        columns = axis_shares(places[:, 0], places[:, 2], grid_hw[1])
        weights = (rows.transpose(1, 2) * columns).flatten(1)
        return moved, text, F.normalize(weights @ dense[0].flatten(1).T, dim=1)


def pool_boxes(pooler: FPNRoIPooler, levels: list[Tensor], boxes: Tensor) -> Tensor:
    """As :class:`FPNRoIPooler` for one image, every box on every level and the right one chosen, ``(R, C, s, s)``."""
    chosen = pooler.levels(boxes)
    total = 0.0
    for index, (maps, stride) in enumerate(zip(levels, pooler.strides, strict=True)):
        x0, y0, x1, y1 = (boxes / stride - 0.5).unbind(1)
        rows = axis_shares(y0, y1, maps.shape[-2], POOLED, pooler.sampling)
        columns = axis_shares(x0, x1, maps.shape[-1], POOLED, pooler.sampling)
        upright = torch.einsum("riy,cyx->rcix", rows, maps[0])
        pooled = upright @ columns.transpose(1, 2)[:, None]
        total = total + torch.where((chosen == index)[:, None, None, None], pooled, 0.0)
    return total


def axis_shares(low: Tensor, high: Tensor, cells: int, bins: int = 1, sampling: int = 0) -> Tensor:
    """As :func:`ovperc.readout.regions.axis_weights` with as many samples as any box in the image can need."""
    step = (high - low).float() / bins
    counts = torch.full_like(step, float(sampling)) if sampling > 0 else torch.ceil(step)
    index = torch.arange(sampling if sampling > 0 else cells + 1, device=low.device)
    inside_bin = (index + 0.5)[None, :] / counts.clamp(min=1)[:, None]
    starts = low.float()[:, None] + torch.arange(bins, device=low.device) * step[:, None]
    places = starts[:, :, None] + (inside_bin * step[:, None])[:, None, :]
    counted = (index < counts[:, None])[:, None, :] & (places >= -1) & (places <= cells)
    places = places.clamp(0, cells - 1)
    hats = (1 - (places[..., None] - torch.arange(cells, device=low.device)).abs()).clamp(min=0)
    return (hats * counted[..., None]).sum(dim=2) / counts.clamp(min=1)[:, None, None]
