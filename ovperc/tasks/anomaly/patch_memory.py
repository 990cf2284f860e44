"""Few-shot localization with a memory of normal patches (PatchCore, Roth et al., CVPR 2022; AnomalyDINO, 2024)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.base import DenseBackbone
from ovperc.core.structures import Tap
from ovperc.tasks.anomaly.head import HEADS, AnomalyHead, HeadFeatures, HeadScores, to_grid
from ovperc.tasks.anomaly.patch_bank import Metric, PatchBank, fill_banks
from ovperc.tasks.anomaly.state_texts import StateTexts


@HEADS.register_module()
class PatchMemoryHead(AnomalyHead):
    """Scores each patch by the distance to its nearest normal patches.

    Args:
        taps: blocks to read; each has its own memory bank, and distances are averaged.
        metric: ``cos`` or ``l2``.
        neighbours: number of nearest neighbours averaged.
        keep: coreset size of each bank; None keeps all patches.
        pool: odd side of the mean filter over patch features (3 in PatchCore); 1 for none.
        peak_share: fraction of highest patch scores averaged for the image score (0.01 in AnomalyDINO), at least one.
        half: store the banks in float16.
    """

    reads_text = False
    needs_fit = True
    bounded = False

    def __init__(
        self,
        taps: Sequence[int] = (-1,),
        metric: Metric = "cos",
        neighbours: int = 1,
        keep: int | None = None,
        pool: int = 1,
        peak_share: float = 0.01,
        half: bool = False,
    ) -> None:
        super().__init__()
        if not taps or pool < 1 or pool % 2 == 0 or not 0 < peak_share <= 1 or (keep is not None and keep < 1):
            raise ValueError(
                "patch memory needs at least one tap, an odd pool, peak_share in (0, 1] and keep of at least 1; got "
                f"{tuple(taps)}, {pool}, {peak_share} and {keep}"
            )
        self.blocks, self.metric, self.neighbours, self.keep = tuple(taps), metric, neighbours, keep
        self.pool, self.peak_share = pool, peak_share
        self.dtype = torch.float16 if half else torch.float32
        self.banks: tuple[PatchBank, ...] = ()

    def taps(self) -> list[Tap]:
        """The blocks' outputs."""
        return [Tap(layer, "out") for layer in self.blocks]

    def fit(self, backbone: DenseBackbone, normal: Iterable[HeadFeatures]) -> PatchMemoryHead:
        """See :class:`AnomalyHead`."""
        fitted = copy.copy(self)
        fitted.banks = fill_banks(
            map(self.describe, normal),
            metric=self.metric,
            neighbours=self.neighbours,
            keep=self.keep,
            dtype=self.dtype,
        )
        return fitted

    def score(self, backbone: DenseBackbone, features: HeadFeatures, texts: StateTexts | None) -> HeadScores:
        """See :class:`AnomalyHead`.

        Raises:
            ValueError: the head has not been fitted.
        """
        if not self.banks:
            raise ValueError("patch memory needs normal images; call fit(normal_images) first")
        each = [bank.distances(tokens) for bank, tokens in zip(self.banks, self.describe(features), strict=True)]
        distances = torch.stack(each).mean(dim=0)
        return HeadScores(to_grid(distances, features.grid_hw), peak_mean(distances, self.peak_share))

    def describe(self, features: HeadFeatures) -> list[Tensor]:
        """Patch features, smoothed over neighbouring patches, ``(B, n, D)`` per tap."""
        return [smooth_tokens(features.dense.patches(tap), features.grid_hw, self.pool) for tap in self.taps()]

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"taps={self.blocks}, metric={self.metric!r}, neighbours={self.neighbours}, keep={self.keep}"


def smooth_tokens(tokens: Tensor, grid_hw: tuple[int, int], side: int) -> Tensor:
    """Mean over ``side x side`` neighbouring patches, ignoring positions outside the grid; ``(B, n, D)``."""
    if side == 1:
        return tokens
    planes = tokens.transpose(1, 2).unflatten(2, grid_hw).float()
    planes = F.avg_pool2d(planes, side, stride=1, padding=side // 2, count_include_pad=False)
    return planes.flatten(2).transpose(1, 2)


def peak_mean(scores: Tensor, share: float) -> Tensor:
    """Mean of the highest ``share`` of ``(B, n)`` scores, at least one; ``(B,)``."""
    count = max(1, round(share * scores.shape[-1]))
    return scores.topk(count, dim=-1).values.mean(dim=-1)
