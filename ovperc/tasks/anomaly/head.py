"""The contract of anomaly heads: from one tower pass to a grid of scores and a score of the image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor, nn

from ovperc.backbones.base import DenseBackbone
from ovperc.core.structures import DenseFeatures, Tap
from ovperc.registry import PartRegistry
from ovperc.tasks.anomaly.map_upsampler import Combine
from ovperc.tasks.anomaly.state_texts import StateTexts

HEADS = PartRegistry(
    "anomaly head",
    scope="ovperc",
    locations=[
        f"ovperc.tasks.anomaly.{module}"
        for module in ("text_map", "adaptation", "winclip", "april_gan", "patch_memory")
    ],
)


@dataclass(frozen=True)
class HeadFeatures:
    """What a head reads of a batch of tiles.

    Attributes:
        dense: taps of one pass of the tower.
        windows: side in patches -> embeddings of all windows of that side, ``(B, (h - k + 1) * (w - k + 1), E)``, not
            normalised, row-major; WinCLIP only.
        views: embeddings of transformed copies of each tile, ``(B, 22, E)``, not normalised; AnoVL only.
    """

    dense: DenseFeatures
    windows: Mapping[int, Tensor] = field(default_factory=dict)
    views: Tensor | None = None

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Patch grid ``(h, w)``."""
        return self.dense.grid_hw

    def split(self, counts: list[int]) -> list[HeadFeatures]:
        """Features of several images apart; ``counts`` tiles each, in order."""
        ends = list(accumulate(counts))
        return [self._rows(slice(end - count, end)) for end, count in zip(ends, counts, strict=True)]

    def _rows(self, tiles: slice) -> HeadFeatures:
        windows = {side: rows[tiles] for side, rows in self.windows.items()}
        return HeadFeatures(self.dense.rows(tiles), windows, None if self.views is None else self.views[tiles])


@dataclass(frozen=True)
class HeadScores:
    """Scores of a batch of tiles.

    Attributes:
        grid: ``(B, K, h, w)`` float32, higher is more anomalous; ``K > 1`` only where ``head.combine`` asks for it.
        image: ``(B,)`` float32.
    """

    grid: Tensor
    image: Tensor


class AnomalyHead(nn.Module, ABC):
    """Scores patches; holds no part of the tower and never depends on neighbours in a batch.

    Attributes:
        reads_text: whether :meth:`score` needs words.
        needs_fit: whether it says nothing before it has seen normal images.
        combine: how the upsampler joins the ``K`` grids.
        bounded: whether scores lie in 0..1 by themselves; the others are drawn on a scale around their threshold.
    """

    reads_text: bool = True
    needs_fit: bool = False
    combine: Combine = "mean"
    bounded: bool = True

    @abstractmethod
    def taps(self) -> list[Tap]:
        """What it reads of the tower's pass."""

    def read(self, backbone: DenseBackbone, tiles: Tensor) -> HeadFeatures:
        """Runs the tower once; heads that need further passes by definition add them here.

        Args:
            backbone: the tower.
            tiles: ``(B, 3, H, W)`` normalised.

        Raises:
            ValueError: the tower has no such tap.
        """
        return HeadFeatures(backbone.forward_dense(tiles, self.taps()))

    @abstractmethod
    def score(self, backbone: DenseBackbone, features: HeadFeatures, texts: StateTexts | None) -> HeadScores:
        """Scores tiles.

        Args:
            backbone: the tower that made the features, for its projection into the joint space.
            features: from :meth:`read`.
            texts: the object, flawless and damaged, where ``reads_text``.
        """

    def fit(self, backbone: DenseBackbone, normal: Iterable[HeadFeatures]) -> AnomalyHead:
        """A copy of the head that remembers normal images; this one stays as it is.

        Args:
            backbone: the tower.
            normal: features of the normal images' tiles.

        Raises:
            ValueError: the head learns nothing from normal images, or there are none.
        """
        raise ValueError(
            f"{type(self).__name__} learns nothing from normal images; use patch_memory, winclip or april_gan, or "
            "calibrate() to choose a threshold from them"
        )


def margins(tokens: Tensor, texts: StateTexts | None, tau: float) -> Tensor:
    """``f . (t_a - t_n) / tau`` of tokens ``(..., E)`` after normalisation, float32: the logit of "anomalous".

    Raises:
        ValueError: a head that compares with text got none.
    """
    if texts is None:
        raise ValueError("this head compares patches with text; score needs texts, not None")
    unit = torch.nn.functional.normalize(tokens.float(), dim=-1)
    return unit @ texts.direction.to(unit.device) / tau


def to_grid(scores: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """``(B, n) -> (B, 1, h, w)`` float32."""
    return scores.float().unflatten(-1, grid_hw)[:, None]
