"""What is traced: the towers of a segmenter as plain modules, tensors in, tensors out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.affinity.base import Affinity, AttentionInputs
from ovperc.affinity.guide import GuideAffinity
from ovperc.backbones.guide import renormalize
from ovperc.core.structures import DenseFeatures, GuideFeatures
from ovperc.export.parts import GraphBuilders
from ovperc.readout.base import Readout, resize_tokens
from ovperc.text.foreground import ForegroundRule

if TYPE_CHECKING:
    from ovperc.backbones.guide import GuideTower
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter

AFFINITIES: GraphBuilders[Callable[[Any], Affinity]] = GraphBuilders("affinity", "pass another affinity")
"""Traceable forms of affinities that cannot be traced as they are; the others need none."""


class BatchedGuideAffinity(GuideAffinity):
    """All tiles in one product: a trace cannot loop over tiles whose number is free."""

    def aggregate(self, inputs: AttentionInputs, values: Tensor) -> Tensor:
        """As in :class:`GuideAffinity`, ``(B, a, m, d)``."""
        guide = inputs.guide
        batch, heads = values.shape[:2]
        rows = values[:, :, inputs.num_prefix :].flatten(0, 1)
        rows = resize_tokens(rows, inputs.grid_hw, guide.grid_hw).unflatten(0, (batch, heads))
        unit = guide.patches.float()
        logits = (unit @ unit.transpose(1, 2) - self.beta * guide.mean_similarity[:, None, None]) * self.gamma
        places = _places(unit)
        kept = (logits >= 0) | (places[:, None] == places[None, :])
        matrix = logits.masked_fill(~kept, float("-inf")).softmax(dim=-1)
        return matrix[:, None].to(rows.dtype) @ rows


def _places(tokens: Tensor) -> Tensor:
    """Numbers of the tokens of ``(B, n, d)``."""
    return tokens.new_ones(tokens.shape[1]).cumsum(0)


@AFFINITIES.register(GuideAffinity)
def _batched(affinity: GuideAffinity) -> BatchedGuideAffinity:
    return BatchedGuideAffinity(affinity.beta, affinity.gamma)


def _traceable(readout: Readout) -> Readout:
    """A copy of the readout with the traceable form of its affinities, at any depth."""
    copied = copy.deepcopy(readout)
    for module in list(copied.modules()):
        affinity = getattr(module, "affinity", None)
        build = AFFINITIES.get(affinity)
        if build is not None:
            module.affinity = build(affinity)
    return copied


def guide_side(guide: GuideTower, side_px: Any) -> Any:
    """Side of a tile as the guide gets it; in whole numbers, so that a side may be free."""
    zoom = Fraction(guide.zoom).limit_denominator(1000)
    cell = zoom.denominator * guide.backbone.stride_px
    return guide.side_px or (side_px * zoom.numerator + cell - 1) // cell * guide.backbone.stride_px


class TileTower(nn.Module):
    """Tower, readout and guide of a segmenter, on tiles.

    Args:
        segmenter: a method whose parts have an exported form.
    """

    def __init__(self, segmenter: DenseSegmenter) -> None:
        super().__init__()
        self.backbone = segmenter.clip.backbone
        self.readout = _traceable(segmenter.readout)
        self._preprocess = segmenter.clip.preprocess
        self._guide = segmenter.guide
        # Named here so that its weights are found; the guide itself is no module.
        self.guide_backbone = None if segmenter.guide is None else segmenter.guide.backbone
        rule = segmenter.logit_rule
        self.with_pooled = rule is not None and rule.needs_pooled

    def describe(self, tiles: Tensor) -> tuple[DenseFeatures, GuideFeatures | None]:
        """Taps of the tower, and what the second one says."""
        taps = self.readout.taps(self.backbone, with_pooled=self.with_pooled)
        features = self.backbone.forward_dense(tiles, taps)
        return features, None if self._guide is None else self._guide_features(tiles)

    def _guide_features(self, tiles: Tensor) -> GuideFeatures:
        """As :meth:`GuideTower.describe`, without asking whether sides that are free need their resize."""
        guide = self._guide
        images = renormalize(tiles, self._preprocess, guide.preprocess)
        sides = [guide_side(guide, side) for side in images.shape[-2:]]
        free = not all(isinstance(side, int) for side in images.shape[-2:])
        if free or sides != list(images.shape[-2:]):
            images = F.interpolate(images.float(), sides, mode="bilinear", align_corners=False)
        features = guide.backbone.forward_dense(images, [guide.tap])
        unit = F.normalize(features.patches(guide.tap).float(), dim=-1)
        described = GuideFeatures(unit, features.grid_hw, unit.mean(dim=1).square().sum(dim=-1))
        if guide.mean_over == "tile":
            return described
        shared = described.mean_similarity.mean().expand_as(described.mean_similarity)
        return replace(described, mean_similarity=shared)


class PatchEncoder(TileTower):
    """Tiles to unit patch embeddings: the part of a method that depends on the image only.

    Attributes:
        outputs: names of what it returns: ``embeddings`` ``(T, E, h, w)``, and as the logit rule needs them
            ``pooled`` ``(T, E)`` and ``foreground`` ``(T, h, w)``.
    """

    def __init__(self, segmenter: DenseSegmenter) -> None:
        super().__init__(segmenter)
        rule = segmenter.logit_rule
        self.with_foreground = isinstance(rule, ForegroundRule) and _predicts_foreground(segmenter.readout)
        self.outputs: tuple[str, ...] = ("embeddings",)
        self.outputs += ("pooled",) if self.with_pooled else ()
        self.outputs += ("foreground",) if self.with_foreground else ()

    def forward(self, tiles: Tensor) -> tuple[Tensor, ...]:
        """``(T, 3, h, w)`` float32, normalised and padded, to :attr:`outputs`, float32."""
        features, guide = self.describe(tiles)
        embedded = self.readout(self.backbone, features, guide, with_pooled=self.with_pooled)
        answers = {"embeddings": embedded.patches, "pooled": embedded.pooled, "foreground": embedded.foreground}
        return tuple(answers[name] for name in self.outputs)


def _predicts_foreground(readout: Readout) -> bool:
    return type(readout).foreground is not Readout.foreground
