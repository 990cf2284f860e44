"""From an image to described regions, and from words to detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from ovperc.backbones.loading import ClipModel
from ovperc.core.boxes import box_sides, clip_boxes, enlarge_boxes
from ovperc.core.inference import inference
from ovperc.core.naming import suggest
from ovperc.core.structures import TextBank
from ovperc.readout.regions import box_weights, encode_crops, mask_weights, pool_regions
from ovperc.tasks.detection.encoded import HeadMasks, MaskSource, RegionEmbeddings
from ovperc.tasks.detection.heads import DetectionHeads
from ovperc.tasks.detection.nms import shared_box_nms
from ovperc.tasks.detection.pyramid import FrozenClipBackbone, TowerMaps
from ovperc.tasks.detection.shifted_windows import WindowPlan, every, shifted_window_map
from ovperc.tasks.detection.weights import TrainedHeads
from ovperc.text.classifier import check_bank
from ovperc.text.region_scores import Fusion, RegionLogits, split_background, word_logits
from ovperc.tiling import Tiler

VlmKind = Literal["dense", "shifted", "crops", "off"]


@dataclass(frozen=True)
class Proposals:
    """Class-agnostic regions of an image.

    Attributes:
        boxes: ``(R, 4)`` float32 xyxy in pixels of the image.
        objectness: ``(R,)`` in 0..1.
        masks: where their masks come from.
        coarse: ``(R, m, m)`` bool, low-resolution masks over the image for pooling; None for boxes.
    """

    boxes: Tensor
    objectness: Tensor
    masks: MaskSource | None = None
    coarse: Tensor | None = None


class Proposer(Protocol):
    """Finds regions without being told what for."""

    def propose(self, image: np.ndarray) -> Proposals:
        """Regions of an image ``(H, W, 3)`` uint8 RGB."""


@dataclass(frozen=True)
class VlmReadout:
    """How frozen CLIP sees a region.

    Attributes:
        kind: ``dense`` pools the tower's dense map inside the region (one matrix product); ``shifted`` pools DITO's
            shifted-window map; ``crops`` cuts each region out and encodes it as an image of its own; ``off`` does not
            ask CLIP.
        crop_px: side of the crops; 0 for the size that the tower was trained at.
        context: box size of the crops, in units of the box.
        splits: windows on each axis, for ``shifted``.
        global_every: each so-many-th block attends over the whole image, for ``shifted``.
        shift: tokens by which the second look is rolled, for ``shifted``.
    """

    kind: VlmKind = "dense"
    crop_px: int = 0
    context: float = 1.0
    splits: int = 4
    global_every: int = 3
    shift: int = 8

    def __post_init__(self) -> None:
        if self.kind not in get_args(VlmKind):
            raise ValueError(f"unknown kind {self.kind!r}; {suggest(str(self.kind), get_args(VlmKind))}")
        if self.crop_px < 0 or self.context <= 0:
            raise ValueError(f"crop_px and context must be positive; got {self.crop_px} and {self.context}")


@dataclass(frozen=True)
class Detections:
    """Objects found in one image, best first.

    Attributes:
        rows: ``(N,)`` int64, region of each.
        labels: ``(N,)`` int64, index into the names that were asked, background left out.
        scores: ``(N,)`` float32.
    """

    rows: Tensor
    labels: Tensor
    scores: Tensor


class RegionDetector:
    """Proposals, region embeddings, scores and suppression; holds parts, no state.

    Args:
        clip: the dual encoder.
        tiler: resize rule; the image is one window.
        heads: what training made; None for a training-free detector.
        proposer: finds regions instead of the heads.
        vlm: how frozen CLIP sees a region.
        fusion: how posteriors become a score.
        nms_iou: overlap above which the lesser of two boxes of one class goes.
        max_detections: most objects per image.
        min_score: objects score more than this. Scores are no probabilities after fusion, so it has to be small.
        min_side_px: boxes that are thinner are dropped.
        resize: rule of :data:`ovperc.tiling.preprocess.RESIZE_RULES`.
    """

    def __init__(
        self,
        clip: ClipModel,
        tiler: Tiler,
        heads: TrainedHeads | None = None,
        proposer: Proposer | None = None,
        vlm: VlmReadout | None = None,
        fusion: Fusion | None = None,
        nms_iou: float = 0.5,
        max_detections: int = 100,
        min_score: float = 0.0,
        min_side_px: float = 1.0,
        resize: str = "opencv",
    ) -> None:
        if heads is None and proposer is None:
            raise ValueError("a detector needs trained heads or a proposer, to know where to look")
        if heads is not None:
            heads.check(clip)
        self.clip = clip
        self.tiler = tiler
        self.trained = heads
        self.proposer = proposer
        self.vlm = vlm or VlmReadout()
        self.fusion = fusion or Fusion()
        self.nms_iou = nms_iou
        self.max_detections = max_detections
        self.min_score = min_score
        self.min_side_px = min_side_px
        self.resize = resize
        layers = heads.heads.settings.layers if heads is not None else ()
        self.tower = FrozenClipBackbone(clip.backbone, layers)

    @inference()
    def encode(self, image: np.ndarray) -> RegionEmbeddings:
        """Everything that depends on the image only.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, any size.
        """
        pixels = self._pixels(image)
        maps = self._maps(pixels)
        size_hw = (image.shape[0], image.shape[1])
        inputs_hw = (pixels.shape[-2], pixels.shape[-1])
        scale = pixels.new_tensor([size_hw[1] / inputs_hw[1], size_hw[0] / inputs_hw[0]]).repeat(2)
        pyramid: Sequence[Tensor] = () if self.trained is None else self.trained.heads.neck(maps.levels)
        text = image_branch = None
        if self.proposer is None:
            found, text, image_branch = self._by_heads(pyramid, inputs_hw, scale, size_hw)
        else:
            found = self.proposer.propose(image)
            if self.trained is not None:
                pooled = self.trained.heads.pool_boxes(pyramid, [found.boxes / scale])
                text = self.trained.heads.region_head(pooled)[0]
        vlm = self._vlm(pixels, maps, found, found.boxes / scale)
        return RegionEmbeddings(
            found.boxes, found.objectness, text, image_branch, vlm, found.masks, size_hw, self.clip.fingerprint
        )

    @inference()
    def detect(self, encoded: RegionEmbeddings, bank: TextBank, is_base: Sequence[bool]) -> Detections:
        """Asks words of described regions.

        Args:
            encoded: from :meth:`encode`.
            bank: words embedded by the same model.
            is_base: for each name that is not background, whether training knew it.

        Raises:
            ValueError: the bank was made by another encoder.
        """
        scores = self.scores(encoded, bank, is_base)
        least = max(self.min_score, bank.background.threshold)
        rows, labels = shared_box_nms(encoded.boxes, scores, self.nms_iou, self.max_detections, least)
        return Detections(rows, labels, scores[rows, labels])

    def scores(self, encoded: RegionEmbeddings, bank: TextBank, is_base: Sequence[bool]) -> Tensor:
        """Score of each region and name, background left out, ``(R, C)`` float32."""
        check_bank(bank, encoded.fingerprint, self.clip.backbone.embed_dim)
        bank = bank.to(encoded.boxes.device)
        names = bank.num_classes - int(bank.background.enabled)
        if len(is_base) != names:
            raise ValueError(f"is_base needs one entry for each of {names} names; got {len(is_base)}")
        text = None if encoded.text is None else self._heads.classifier(encoded.text, bank)
        second = encoded.image if self.fusion.policy == "vild" else encoded.vlm
        scores = self.fusion(text, None if second is None else self._second(second, bank), is_base)
        return scores * encoded.objectness[:, None].pow(self.fusion.objectness)

    def _second(self, embeddings: Tensor, bank: TextBank) -> RegionLogits:
        """Logits of the second posterior; only words that were asked can be its background."""
        logits = word_logits(embeddings, bank, self.fusion.scale)
        nothing = logits.new_full((len(logits),), -torch.inf)
        return split_background(RegionLogits(logits, nothing), bank)

    def _pixels(self, image: np.ndarray) -> Tensor:
        """The image resized and normalised, ``(1, 3, h, w)``, whole patches on both sides."""
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3:
            got = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise TypeError(f"image must be an array (H, W, 3) uint8 RGB; got {got}. Use ovperc.io.images.read_image")
        preprocess, backbone = self.clip.preprocess, self.clip.backbone
        geometry = self.tiler.plan(image.shape[:2], backbone.stride_px)
        return preprocess.apply(image, geometry.resized_hw, self.resize, backbone.device)

    def _maps(self, pixels: Tensor) -> TowerMaps:
        resnet = None if self.trained is None else self.trained.resnet
        if resnet is None:
            return self.tower(pixels)
        dense = self.tower(pixels).dense if self.vlm.kind == "dense" else None
        return TowerMaps(resnet(pixels).levels, dense)

    @property
    def _heads(self) -> DetectionHeads:
        if self.trained is None:
            raise ValueError("this detector has no trained heads")
        return self.trained.heads

    def _by_heads(
        self, pyramid: Sequence[Tensor], inputs_hw: tuple[int, int], scale: Tensor, size_hw: tuple[int, int]
    ) -> tuple[Proposals, Tensor, Tensor | None]:
        """The heads' own regions: proposals moved by their deltas; and the embeddings of both branches."""
        heads = self._heads
        proposals, _ = heads.propose(pyramid, inputs_hw)
        pooled = heads.pool_boxes(pyramid, proposals.boxes)
        text, deltas = heads.region_head(pooled)
        image = text if heads.settings.distill == "shared" else None
        image = image if heads.image_head is None else heads.image_head(pooled)[0]
        inputs = heads.decode(deltas, proposals.boxes[0], inputs_hw)
        boxes = clip_boxes(inputs * scale, size_hw)
        kept = (box_sides(boxes).amin(dim=1) >= self.min_side_px).nonzero().flatten()
        boxes, inputs = boxes[kept], inputs[kept]
        masks = None if heads.mask_head is None else HeadMasks(heads, pyramid, inputs, boxes, size_hw)
        found = Proposals(boxes, proposals.objectness[0][kept], masks)
        return found, text[kept], None if image is None else image[kept]

    def _vlm(self, pixels: Tensor, maps: TowerMaps, found: Proposals, inputs: Tensor) -> Tensor | None:
        """Frozen CLIP's embeddings of the regions, ``(R, E)``."""
        if self.vlm.kind == "off":
            return None
        if self.vlm.kind == "crops":
            boxes = enlarge_boxes(inputs, self.vlm.context, (pixels.shape[-2], pixels.shape[-1]))
            side = self.vlm.crop_px or self.clip.preprocess.image_size_px
            return encode_crops(self.clip, pixels[0], boxes, side)
        dense = maps.dense
        if self.vlm.kind == "shifted":
            blocks = every(self.clip.backbone.depth, self.vlm.global_every)
            plan = WindowPlan(self.vlm.splits, blocks, self.vlm.shift)
            dense = shifted_window_map(self.clip.backbone, pixels, plan)
        if dense is None:
            raise ValueError(f"vlm.kind {self.vlm.kind!r} needs the dense map of the tower")
        grid_hw = (dense.shape[-2], dense.shape[-1])
        if found.coarse is not None:
            return pool_regions(dense[0], mask_weights(found.coarse, grid_hw))
        return pool_regions(dense[0], box_weights(inputs, grid_hw, float(self.clip.backbone.stride_px)))
