"""From an image to embedded pixels and masks, and from words to a panoptic map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ovperc.core.inference import inference
from ovperc.core.panoptic import PanopticMap
from ovperc.core.structures import TextBank
from ovperc.io.coco import decode_rle
from ovperc.readout.regions import stitched_mask_weights
from ovperc.tasks.panoptic.instances import Rle, name_instances
from ovperc.tasks.panoptic.merging import MergeRule
from ovperc.tasks.segmentation.segmenter import DenseSegmenter, ImageEmbeddings
from ovperc.text.region_scores import word_logits

if TYPE_CHECKING:
    from ovperc.tasks.detection.region_detector import Proposer

_DENSE_PIXELS = 1 << 25


@dataclass(frozen=True)
class PanopticEmbeddings:
    """One image, ready for any words.

    Attributes:
        image: its dense embeddings.
        masks: ``R`` COCO run-length codes of the image's size.
        quality: ``(R,)`` float32 in 0..1, of the masks whatever they show.
        regions: ``(R, E)`` float32 unit rows, mean of the dense embeddings inside each mask.
    """

    image: ImageEmbeddings
    masks: tuple[Rle, ...]
    quality: Tensor
    regions: Tensor


class PanopticSegmenter:
    """Semantic map and masks of one image, named by the same embeddings; holds parts, no state.

    The image passes once through the semantic method's towers and once through the proposer's: masks are named by the
    mean of the dense embeddings inside them, not by crops.

    Args:
        semantic: the method of segmentation.
        proposer: finds masks without being told what for.
        rule: merges instances and stuff.
    """

    def __init__(self, semantic: DenseSegmenter, proposer: Proposer, rule: MergeRule) -> None:
        self.semantic = semantic
        self.proposer = proposer
        self.rule = rule

    @inference()
    def encode_batch(self, images: Sequence[np.ndarray]) -> list[PanopticEmbeddings]:
        """Everything that depends on images only; see :meth:`DenseSegmenter.encode_batch`.

        Raises:
            ValueError: the proposer makes boxes without masks.
        """
        pairs = zip(images, self.semantic.encode_batch(images), strict=True)
        return [self._with_masks(image, encoded) for image, encoded in pairs]

    @inference()
    def segment(self, encoded: PanopticEmbeddings, bank: TextBank, stuff: frozenset[int]) -> PanopticMap:
        """The panoptic map of an encoded image.

        Args:
            encoded: from :meth:`encode_batch`.
            bank: words embedded by the same model.
            stuff: labels of stuff classes; the others, background left out, are things.

        Raises:
            ValueError: the bank was made by another encoder.
        """
        found = self.semantic.segment(encoded.image, bank)
        labels = np.arange(bank.num_classes)
        is_stuff = np.isin(labels, sorted(stuff))
        is_thing = ~is_stuff & (labels >= int(bank.background.enabled))
        logits = word_logits(encoded.regions, bank.to(encoded.regions.device), self.semantic.classifier.logit_scale)
        instances = name_instances(
            encoded.masks,
            encoded.quality.cpu().numpy(),
            logits.softmax(dim=1).cpu().numpy(),
            is_thing,
            bank.background.threshold,
        )
        return self.rule.merge(instances, found.labels.cpu().numpy(), found.confidence.cpu().numpy(), is_stuff)

    def _with_masks(self, image: np.ndarray, encoded: ImageEmbeddings) -> PanopticEmbeddings:
        proposals = self.proposer.propose(image)
        if proposals.masks is None:
            raise ValueError(
                f"{type(self.proposer).__name__} finds boxes without masks; panoptic segmentation needs a proposer "
                "with masks, such as SamEverything"
            )
        masks = tuple(proposals.masks.codes(range(len(proposals.boxes))))
        return PanopticEmbeddings(encoded, masks, proposals.objectness.float(), self._pool(masks, encoded))

    def _pool(self, masks: tuple[Rle, ...], encoded: ImageEmbeddings) -> Tensor:
        """Mean embedding of each mask, ``(R, E)``; few masks are dense at a time."""
        patches = encoded.embeddings.patches
        height, width = encoded.original_hw
        step = max(1, _DENSE_PIXELS // (height * width))
        parts = [patches.new_zeros((0, patches.shape[1]), dtype=torch.float32)]
        for start in range(0, len(masks), step):
            dense: Any = np.stack([decode_rle(mask) for mask in masks[start : start + step]])
            weights = stitched_mask_weights(torch.from_numpy(dense).to(patches.device), encoded.stitcher)
            parts.append(weights.pool(patches))
        return torch.cat(parts)
