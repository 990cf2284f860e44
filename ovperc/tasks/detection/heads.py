"""Everything of a detector that is trained: neck, proposals, region heads; built from numbers, words are an input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from ovperc.core.boxes import PyramidAnchors, clip_boxes
from ovperc.tasks.detection.pooler import FPNRoIPooler
from ovperc.tasks.detection.pyramid import SimpleFPN, group_norm
from ovperc.tasks.detection.rpn import Proposals, ScoredRPN
from ovperc.text.region_scores import TextClassifier

Distill = Literal["none", "shared", "separate"]
POOLED = 7
MASK_POOLED = 14
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@dataclass(frozen=True)
class HeadSettings:
    """Sizes of the trained part; stored beside its weights.

    Attributes:
        in_channels: of the maps that the neck is given.
        stride_px: pixels per cell of those maps, one number for all or one each.
        scales: by which the neck enlarges each map; see :class:`SimpleFPN`.
        layers: blocks of the frozen tower that the maps come from; empty for other backbones.
        channels: of the pyramid.
        anchor_scale: side of a square anchor, in cells of its level.
        anchor_ratios: height over width.
        rpn_convs: convolutions before the proposal heads.
        box_convs: convolutions on each pooled box.
        box_fc: width of the fully connected layers after them, one entry a layer.
        embed_dim: channels of the joint space.
        mask_convs: convolutions of the mask head; 0 for a detector without masks.
        finest_px: box side from which pyramid levels are counted.
        scale: inverse temperature at the start.
        learn_scale: whether it is trained.
        distill: ViLD's image branch: ``none``, ``shared`` with the text branch, or ``separate`` (the ensemble).
    """

    in_channels: tuple[int, ...]
    stride_px: tuple[float, ...]
    scales: tuple[float, ...]
    layers: tuple[int, ...] = ()
    channels: int = 256
    anchor_scale: float = 8.0
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rpn_convs: int = 2
    box_convs: int = 4
    box_fc: tuple[int, ...] = (1024,)
    embed_dim: int = 512
    mask_convs: int = 4
    finest_px: float = 56.0
    scale: float = 50.0
    learn_scale: bool = True
    distill: Distill = "none"

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, list):
                object.__setattr__(self, entry.name, tuple(value))
        if isinstance(self.stride_px, int | float):
            object.__setattr__(self, "stride_px", (float(self.stride_px),) * len(self.in_channels))
        if not len(self.in_channels) == len(self.stride_px) == len(self.scales):
            raise ValueError(
                "in_channels, stride_px and scales need one entry for each map; got "
                f"{self.in_channels}, {self.stride_px}, {self.scales}"
            )
        if self.distill not in get_args(Distill):
            raise ValueError(f"distill must be one of {', '.join(get_args(Distill))}; got {self.distill!r}")

    @property
    def strides(self) -> tuple[float, ...]:
        """Pixels per cell of each level of the pyramid."""
        return tuple(stride / scale for stride, scale in zip(self.stride_px, self.scales, strict=True))

    def to_json(self) -> str:
        """The settings as text, for the metadata of a weight file."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> HeadSettings:
        """Reads what :meth:`to_json` wrote."""
        return cls(**json.loads(text))


class RegionHead(nn.Module):
    """Pooled boxes to embeddings: convolutions, fully connected layers, and a projection to the joint space.

    Args:
        settings: sizes.
        boxes: whether it also predicts box deltas, class-agnostic.
    """

    def __init__(self, settings: HeadSettings, boxes: bool = True) -> None:
        super().__init__()
        self.body = FastRCNNConvFCHead(
            (settings.channels, POOLED, POOLED),
            [settings.channels] * settings.box_convs,
            list(settings.box_fc),
            norm_layer=group_norm,
        )
        self.project = nn.Linear(settings.box_fc[-1], settings.embed_dim)
        self.deltas = nn.Linear(settings.box_fc[-1], 4) if boxes else None
        if self.deltas is not None:
            nn.init.normal_(self.deltas.weight, std=0.001)
            nn.init.zeros_(self.deltas.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        """``(R, C, 7, 7)`` to embeddings ``(R, E)``, not normalised, and deltas ``(R, 4)``."""
        features = self.body(pooled)
        return self.project(features), None if self.deltas is None else self.deltas(features)


class DetectionHeads(nn.Module):
    """Neck, region proposal network, region head, mask head and text classifier.

    Args:
        settings: sizes.
        before: proposals kept per level before suppression, in training and testing.
        after: proposals kept per image, in training and testing.
        rpn_iou: overlap above which proposals of a level are suppressed.
        rpn_samples: anchors per image that proposals learn from.
    """

    def __init__(
        self,
        settings: HeadSettings,
        before: tuple[int, int] = (2000, 1000),
        after: tuple[int, int] = (1000, 300),
        rpn_iou: float = 0.7,
        rpn_samples: int = 256,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.box_coder = BoxCoder(BOX_WEIGHTS)
        strides = settings.strides
        self.neck = SimpleFPN(settings.in_channels, settings.scales, settings.channels)
        anchors = PyramidAnchors(strides, settings.anchor_scale, settings.anchor_ratios)
        self.rpn = ScoredRPN(
            settings.channels, anchors, settings.rpn_convs, before, after, nms_iou=rpn_iou, samples=rpn_samples
        )
        self.pool_boxes = FPNRoIPooler(strides, POOLED, settings.finest_px)
        self.region_head = RegionHead(settings)
        self.image_head = RegionHead(settings, boxes=False) if settings.distill == "separate" else None
        self.classifier = TextClassifier(settings.embed_dim, settings.scale, settings.learn_scale)
        self.pool_masks: FPNRoIPooler | None = None
        self.mask_head: nn.Sequential | None = None
        if settings.mask_convs:
            width = settings.channels
            self.pool_masks = FPNRoIPooler(strides, MASK_POOLED, settings.finest_px)
            self.mask_head = nn.Sequential(
                MaskRCNNHeads(width, [width] * settings.mask_convs, 1, norm_layer=group_norm),
                MaskRCNNPredictor(width, width, 1),
            )

    def propose(
        self, pyramid: Sequence[Tensor], size_hw: tuple[int, int], truth: Sequence[Tensor] | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]:
        """Proposals of a batch whose images fill ``size_hw``, and losses where the objects' boxes are given."""
        sizes = ImageList(pyramid[0].new_zeros((len(pyramid[0]), 0)), [size_hw] * len(pyramid[0]))
        return self.rpn(sizes, pyramid, None if truth is None else [{"boxes": boxes} for boxes in truth])

    def mask_logits(self, pyramid: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """``(R, 28, 28)`` logits inside each box."""
        if self.mask_head is None or self.pool_masks is None:
            raise ValueError("this detector has no mask head; train one with mask_convs of 1 or more")
        return self.mask_head(self.pool_masks(pyramid, boxes))[:, 0]

    def decode(self, deltas: Tensor, boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Boxes ``(R, 4)`` moved by their deltas and clipped to the image."""
        return clip_boxes(self.box_coder.decode_single(deltas, boxes), size_hw)
