"""Base class of anomaly heads, which turn tower features into patch and image scores."""

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
    """Features of a batch of tiles for an anomaly head.

    Attributes:
        dense: taps of one tower pass.
        windows: side in patches -> embeddings of all windows of that size, ``(B, (h - k + 1) * (w - k + 1), E)``, not
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
        """Splits the features by image, with ``counts`` tiles each, in order."""
        ends = list(accumulate(counts))
        return [self._rows(slice(end - count, end)) for end, count in zip(ends, counts, strict=True)]

    def _rows(self, tiles: slice) -> HeadFeatures:
        windows = {side: rows[tiles] for side, rows in self.windows.items()}
        return HeadFeatures(self.dense.rows(tiles), windows, None if self.views is None else self.views[tiles])


@dataclass(frozen=True)
class HeadScores:
    """Anomaly scores of a batch of tiles.

    Attributes:
        grid: ``(B, K, h, w)`` float32, higher is more anomalous; ``K > 1`` only if the upsampler combines several maps.
        image: ``(B,)`` float32 image scores.
    """

    grid: Tensor
    image: Tensor


class AnomalyHead(nn.Module, ABC):
    """Scores patches. A head holds no part of the tower, and scores do not depend on the rest of the batch.

    Attributes:
        reads_text: whether :meth:`score` needs text embeddings.
        needs_fit: whether the head must be fitted with normal images first.
        combine: how the upsampler combines the ``K`` maps.
        bounded: whether scores lie in 0..1; unbounded scores are drawn on a scale around their threshold.
    """

    reads_text: bool = True
    needs_fit: bool = False
    combine: Combine = "mean"
    bounded: bool = True

    @abstractmethod
    def taps(self) -> list[Tap]:
        """Taps to read from the tower."""

    def read(self, backbone: DenseBackbone, tiles: Tensor) -> HeadFeatures:
        """Runs the tower once; heads whose definition requires further passes add them here.

        Args:
            backbone: the tower.
            tiles: ``(B, 3, H, W)`` normalised.

        Raises:
            ValueError: the tower does not provide a tap.
        """
        return HeadFeatures(backbone.forward_dense(tiles, self.taps()))

    @abstractmethod
    def score(self, backbone: DenseBackbone, features: HeadFeatures, texts: StateTexts | None) -> HeadScores:
        """Scores tiles.

        Args:
            backbone: the tower that computed the features, for its projection to the joint space.
            features: from :meth:`read`.
            texts: embeddings of the normal and the anomalous object, if ``reads_text``.
        """

    def fit(self, backbone: DenseBackbone, normal: Iterable[HeadFeatures]) -> AnomalyHead:
        """Returns a copy of the head fitted with normal images.

        Args:
            backbone: the tower.
            normal: features of the normal images' tiles.

        Raises:
            ValueError: the head cannot be fitted, or there are no normal images.
        """
        raise ValueError(
            f"{type(self).__name__} cannot be fitted with normal images; use patch_memory, winclip or april_gan, or "
            "calibrate() to choose a threshold from them"
        )


def margins(tokens: Tensor, texts: StateTexts | None, tau: float) -> Tensor:
    """``f . (t_a - t_n) / tau`` of tokens ``(..., E)`` after normalisation, float32: the anomaly logit.

    Raises:
        ValueError: ``texts`` is None.
    """
    if texts is None:
        raise ValueError("this head compares patches with text; score needs texts, got None")
    unit = torch.nn.functional.normalize(tokens.float(), dim=-1)
    return unit @ texts.direction.to(unit.device) / tau


def to_grid(scores: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """``(B, n) -> (B, 1, h, w)`` float32."""
    return scores.float().unflatten(-1, grid_hw)[:, None]
