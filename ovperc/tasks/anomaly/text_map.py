"""Patch-text similarity maps: plain CLIP, AnomalyCLIP and AnoVL without adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ovperc.backbones.base import POOLED, DenseBackbone
from ovperc.core.naming import suggest
from ovperc.core.structures import Tap
from ovperc.tasks.anomaly.head import HEADS, AnomalyHead, HeadFeatures, HeadScores, margins, to_grid
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tasks.anomaly.views import encode_views

Pooled = Literal["stock", "bare"]
_POOLED_TAPS: dict[str, Tap] = {"stock": POOLED, "bare": Tap(-1, "pooled_bare")}


@HEADS.register_module()
class TextMapHead(AnomalyHead):
    """``softmax([f . t_n, f . t_a] / tau)_a = sigmoid(f . (t_a - t_n) / tau)`` of every patch.

    Args:
        side_blocks: number of last blocks in the dual path (the tap ``dual``); 0 reads the tower's own stream.
        taps: blocks to read; their probabilities are averaged.
        tau: temperature (0.07 in AnomalyCLIP, 1 in AnoVL, 0.01 in CLIP).
        pooled: image embedding for the image score: ``stock``, the tower's own (the tap ``pooled``), or ``bare``,
            without the final norm (``pooled_bare``). Views take the tower's own.
        peak: weight of the highest patch in the image score; 0 in all published methods.
        views: average the image score over 22 rotated, shifted, flipped and greyscale views (AnoVL).
    """

    def __init__(
        self,
        side_blocks: int = 0,
        taps: Sequence[int] = (-1,),
        tau: float = 0.07,
        pooled: Pooled = "stock",
        peak: float = 0.0,
        views: bool = False,
    ) -> None:
        super().__init__()
        if tau <= 0 or not taps or not 0 <= peak <= 1:
            raise ValueError(f"tau must be positive, peak in 0..1 and taps not empty; got {tau}, {peak} and {taps}")
        if pooled not in _POOLED_TAPS:
            raise ValueError(f"unknown pooled {pooled!r}; {suggest(str(pooled), _POOLED_TAPS)}")
        point = ("dual", side_blocks) if side_blocks else ("out",)
        self.patches = tuple(Tap(layer, *point) for layer in taps)
        self.tau = tau
        self.peak = peak
        self.views = views and peak < 1
        self.pooled = POOLED if self.views else _POOLED_TAPS[pooled]

    def taps(self) -> list[Tap]:
        """Patches, and the image embedding if it is scored."""
        return [*self.patches, *([self.pooled] if self.peak < 1 else [])]

    def read(self, backbone: DenseBackbone, tiles: Tensor) -> HeadFeatures:
        """One pass, plus one for each further view of AnoVL, which is a separate image by definition."""
        features = super().read(backbone, tiles)
        if not self.views:
            return features
        return replace(features, views=encode_views(backbone, tiles, features.dense[self.pooled]))

    def tokens(self, backbone: DenseBackbone, features: HeadFeatures) -> list[Tensor]:
        """Patches of every tap in the joint space, ``(B, n, E)`` each, not normalised."""
        return [backbone.project(features.dense.patches(tap)) for tap in self.patches]

    def probabilities(self, tokens: Tensor, texts: StateTexts | None) -> Tensor:
        """Anomaly probabilities, ``(B, n, E) -> (B, n)`` float32."""
        return margins(tokens, texts, self.tau).sigmoid()

    def score(self, backbone: DenseBackbone, features: HeadFeatures, texts: StateTexts | None) -> HeadScores:
        """See :class:`AnomalyHead`; all in 0..1."""
        each = [self.probabilities(tokens, texts) for tokens in self.tokens(backbone, features)]
        patches = torch.stack(each).mean(dim=0)
        image = patches.amax(dim=-1)
        if self.peak < 1:
            looks = features.dense[self.pooled][:, None] if features.views is None else features.views
            whole = margins(looks, texts, self.tau).sigmoid().mean(dim=1)
            image = self.peak * image + (1 - self.peak) * whole
        return HeadScores(to_grid(patches, features.grid_hw), image)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"patches={[str(tap) for tap in self.patches]}, tau={self.tau}, pooled={self.pooled.point!r}"
