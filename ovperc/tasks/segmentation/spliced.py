"""Segmentation of spliced features: tiles are merged before they are classified, not after."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ovperc.affinity.sam_correlation import SamCorrelation
from ovperc.core.inference import inference
from ovperc.core.structures import DenseEmbeddings
from ovperc.readout.base import Readout, unit_pooled
from ovperc.refine.sam_prompt import SamPromptRefiner
from ovperc.tasks.segmentation.segmenter import DenseSegmenter, ImageEmbeddings
from ovperc.tiling.splice import as_one_tile, splice


class SplicedSegmenter(DenseSegmenter):
    """As :class:`DenseSegmenter`, with one canvas of features for the whole image (Shi et al., Trident).

    The last block's output of all tiles is spliced, averaged once more over the whole image by an aggregator where
    there is one, and then goes through the tower's final norm and projection once.

    Args:
        aggregator: the global average; None for none. A refiner on the same SAM shares its pass.
        **parts: as for :class:`DenseSegmenter`.

    Raises:
        ValueError: a readout or logit rule that works on tiles by themselves.
    """

    def __init__(self, *args: Any, aggregator: SamCorrelation | None = None, **parts: Any) -> None:
        super().__init__(*args, **parts)
        self.aggregator = aggregator
        sam = aggregator.backbone if aggregator is not None else None
        self._shares_sam = isinstance(self.refiner, SamPromptRefiner) and self.refiner.prompter.backbone is sam
        if type(self.readout).embed is not Readout.embed:
            raise ValueError(f"{type(self.readout).__name__} averages within a tile and cannot be spliced")
        rule = self.logit_rule
        if rule is not None and rule.needs_keys:
            raise ValueError(f"{type(rule).__name__} reads keys of tiles, which a splice merges")

    @inference()
    def encode_batch(self, images: Sequence[np.ndarray]) -> list[ImageEmbeddings]:
        """Encodes images one after the other; tiles of each share forward passes of up to ``max_tiles``."""
        return [self._encode_one(image) for image in images]

    def _encode_one(self, image: np.ndarray) -> ImageEmbeddings:
        tiled, backbone = self._cut(image), self.clip.backbone
        with_pooled = self.logit_rule is not None and self.logit_rule.needs_pooled
        taps, tokens, pooled, grid_hw = self.readout.taps(backbone, with_pooled=with_pooled), [], [], (0, 0)
        described = self._describe(tiled.tiles, [len(tiled.tiles)])
        for part, guide in zip(tiled.tiles.split(self.max_tiles), described, strict=True):
            features = backbone.forward_dense(part, taps)
            tokens.append(self.readout.tokens(backbone, features, guide))
            pooled += [unit_pooled(features)] if with_pooled else []
            grid_hw = self.readout.output_grid(features, guide)
        canvas = splice(torch.cat(tokens), grid_hw, tiled.geometry, backbone.stride_px)
        look = None
        if self.aggregator is not None:
            look = self.aggregator.embed(image)
            canvas = self.aggregator.aggregate(look, canvas)
        embedded = backbone.project(canvas.flatten(1).T[None].to(backbone.dtype))
        unit = F.normalize(embedded.float(), dim=-1)
        patches = unit.transpose(1, 2).unflatten(2, canvas.shape[1:])
        whole = dataclasses.replace(tiled, geometry=as_one_tile(tiled.geometry))
        embeddings = DenseEmbeddings(patches, pooled=torch.cat(pooled) if with_pooled else None)
        shared = look.without_features() if look is not None and self._shares_sam else None
        return self._pack(whole, embeddings, image, shared)
