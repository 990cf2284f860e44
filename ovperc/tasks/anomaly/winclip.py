"""WinCLIP: overlapping windows compared with text, and with windows of normal images (Jeong et al., CVPR 2023)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ovperc.backbones.base import POOLED, DenseBackbone
from ovperc.core.structures import Tap
from ovperc.tasks.anomaly.head import HEADS, AnomalyHead, HeadFeatures, HeadScores, margins, to_grid
from ovperc.tasks.anomaly.patch_bank import PatchBank, fill_banks
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tasks.anomaly.windows import TOKENS, encode_windows, harmonic_aggregate, harmonic_mean


@HEADS.register_module()
class WinClipHead(AnomalyHead):
    """Scores windows of several sizes and the full image, combined by harmonic means.

    Without normal images the map is ``H(global, M_2, M_3)``, where ``M_k`` is the harmonic mean of the anomaly
    probability over covering windows. With normal images, the map is the mean of that and of ``M_ref``, the mean over
    patches and windows of ``(1 - cos) / 2`` to the nearest normal one, and the image score is the mean of the
    global score and the maximum of ``M_ref``.

    Args:
        sides: window sides in patches.
        tau: temperature.
        tap: block whose patch tokens are compared with normal ones, before the final norm.
    """

    def __init__(self, sides: Sequence[int] = (2, 3), tau: float = 0.07, tap: int = -1) -> None:
        super().__init__()
        if tau <= 0:
            raise ValueError(f"tau must be positive; got {tau}")
        self.sides, self.tau, self.patches = tuple(sides), tau, Tap(tap, "out")
        self.banks: tuple[PatchBank, ...] = ()

    def taps(self) -> list[Tap]:
        """Patches, the image embedding, and the patch embeddings from which windows are cut."""
        return [TOKENS, self.patches, POOLED]

    def read(self, backbone: DenseBackbone, tiles: Tensor) -> HeadFeatures:
        """One pass for the image, and one for the windows, which are separate images by definition."""
        features = super().read(backbone, tiles)
        return replace(features, windows=encode_windows(backbone, features.dense, self.sides))

    def fit(self, backbone: DenseBackbone, normal: Iterable[HeadFeatures]) -> WinClipHead:
        """See :class:`AnomalyHead`."""
        fitted = copy.copy(self)
        fitted.banks = fill_banks(map(self._described, normal))
        return fitted

    def score(self, backbone: DenseBackbone, features: HeadFeatures, texts: StateTexts | None) -> HeadScores:
        """See :class:`AnomalyHead`; all in 0..1."""
        whole = margins(features.dense[POOLED], texts, self.tau).sigmoid()
        height, width = features.grid_hw
        planes = [whole[:, None].expand(-1, height * width)]
        for side in self.sides:
            scores = margins(features.windows[side], texts, self.tau).sigmoid()
            planes.append(harmonic_aggregate(scores, features.grid_hw, side))
        patches = harmonic_mean(planes)
        if not self.banks:
            return HeadScores(to_grid(patches, features.grid_hw), whole)
        reference = self._reference(features)
        image = 0.5 * (whole + reference.amax(dim=-1))
        return HeadScores(to_grid(0.5 * (patches + reference), features.grid_hw), image)

    def _reference(self, features: HeadFeatures) -> Tensor:
        """``M_ref``, ``(B, n)``."""
        found = [0.5 * bank.distances(part) for bank, part in zip(self.banks, self._described(features), strict=True)]
        for index, side in enumerate(self.sides, start=1):
            found[index] = harmonic_aggregate(found[index], features.grid_hw, side)
        return torch.stack(found).mean(dim=0)

    def _described(self, features: HeadFeatures) -> list[Tensor]:
        return [features.dense.patches(self.patches), *(features.windows[side] for side in self.sides)]

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"sides={self.sides}, tau={self.tau}"
