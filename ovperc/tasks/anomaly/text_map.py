"""Patches against two text vectors: plain CLIP maps, AnomalyCLIP and AnoVL without adaptation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ovperc.backbones.base import DenseBackbone
from ovperc.tasks.anomaly.head import HEADS, AnomalyHead, HeadScores, margins, to_grid
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tasks.anomaly.tower_pass import Pooled, TowerFeatures, TowerRequest


@HEADS.register_module()
class TextMapHead(AnomalyHead):
    """``softmax([f . t_n, f . t_a] / tau)_a = sigmoid(f . (t_a - t_n) / tau)`` of every patch, one product each.

    Args:
        side_blocks: last blocks that take part in the value-value side stream; 0 reads the tower's own stream.
        taps: blocks after which patches are read; their probabilities are averaged.
        tau: temperature (0.07 in AnomalyCLIP, 1 in AnoVL, 0.01 in CLIP).
        pooled: which image embedding scores the whole image, see :class:`TowerRequest`.
        peak: share of the image score that comes from the highest patch instead; 0 in all published methods.
        views: score the image as the mean over 22 turned, shifted and grey copies (AnoVL).
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
            raise ValueError(
                f"tau must be positive, peak in 0..1 and taps name at least one block; got {tau}, {peak} and {taps}"
            )
        self.side_blocks = side_blocks
        self.taps = tuple(taps)
        self.tau = tau
        self.pooled: Pooled = pooled
        self.peak = peak
        self.views = views

    def request(self) -> TowerRequest:
        """Side or main stream at the taps, and the image embedding."""
        views = self.views and self.peak < 1
        pooled = self.pooled if self.peak < 1 and not views else "none"
        if self.side_blocks:
            return TowerRequest(side_blocks=self.side_blocks, side_taps=self.taps, pooled=pooled, views=views)
        return TowerRequest(main_taps=self.taps, pooled=pooled, views=views)

    def tokens(self, backbone: DenseBackbone, features: TowerFeatures) -> list[Tensor]:
        """Patches of every tap in the joint space, ``(B, n, E)`` each, not normalised."""
        streams = features.side if self.side_blocks else features.main
        return [backbone.project(stream) for stream in streams.values()]

    def probabilities(self, tokens: Tensor, texts: StateTexts) -> Tensor:
        """Of "damaged", ``(B, n, E) -> (B, n)`` float32."""
        return margins(tokens, texts, self.tau).sigmoid()

    def score(self, backbone: DenseBackbone, features: TowerFeatures, texts: StateTexts | None) -> HeadScores:
        """See :class:`AnomalyHead`; all in 0..1."""
        each = [self.probabilities(tokens, texts) for tokens in self.tokens(backbone, features)]
        patches = torch.stack(each).mean(dim=0)
        image = patches.amax(dim=-1) if self.peak else 0.0
        if self.peak < 1:
            looks = features.pooled[:, None] if features.views is None else features.views
            whole = margins(looks, texts, self.tau).sigmoid().mean(dim=1)
            image = self.peak * image + (1 - self.peak) * whole
        return HeadScores(to_grid(patches, features.grid_hw), image)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"side_blocks={self.side_blocks}, taps={self.taps}, tau={self.tau}, pooled={self.pooled!r}"
