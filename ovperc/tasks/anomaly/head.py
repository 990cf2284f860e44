"""The contract of anomaly heads: from one tower pass to a grid of scores and a score of the image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ovperc.backbones.base import DenseBackbone
from ovperc.registry import PartRegistry
from ovperc.tasks.anomaly.map_upsampler import Combine
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tasks.anomaly.tower_pass import TowerFeatures, TowerRequest

HEADS = PartRegistry(
    "anomaly head",
    scope="ovperc",
    locations=[
        f"ovperc.tasks.anomaly.{module}"
        for module in ("text_map", "adaptation", "winclip", "april_gan", "patch_memory")
    ],
)


@dataclass(frozen=True)
class HeadScores:
    """What a head says of a batch of windows.

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
    def request(self) -> TowerRequest:
        """What it reads of the tower."""

    @abstractmethod
    def score(self, backbone: DenseBackbone, features: TowerFeatures, texts: StateTexts | None) -> HeadScores:
        """Scores windows.

        Args:
            backbone: the tower that made the features, for its projection into the joint space.
            features: what :meth:`request` asked for.
            texts: the object, flawless and damaged, where ``reads_text``.
        """

    def fit(self, backbone: DenseBackbone, normal: Iterable[TowerFeatures]) -> AnomalyHead:
        """A copy of the head that remembers normal images; this one stays as it is.

        Args:
            backbone: the tower.
            normal: features of the normal images' windows.

        Raises:
            ValueError: the head learns nothing from normal images, or there are none.
        """
        raise ValueError(
            f"{type(self).__name__} learns nothing from normal images; use patch_memory, winclip or april_gan, or "
            "calibrate() to choose a threshold from them"
        )


def margins(tokens: Tensor, texts: StateTexts, tau: float) -> Tensor:
    """``f . (t_a - t_n) / tau`` of tokens ``(..., E)`` after normalisation, float32: the logit of "damaged"."""
    unit = torch.nn.functional.normalize(tokens.float(), dim=-1)
    return unit @ texts.direction.to(unit.device) / tau


def to_grid(scores: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """``(B, n) -> (B, 1, h, w)`` float32."""
    return scores.float().unflatten(-1, grid_hw)[:, None]
