"""Affinity of a second tower's features, in place of the block's own attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.affinity.base import Affinity, AttentionInputs
from ovperc.core.structures import GuideFeatures
from ovperc.registry import AFFINITIES


@AFFINITIES.register_module()
class GuideAffinity(Affinity):
    """ProxyCLIP's guide attention (Lan et al., ECCV 2024, section 3.2).

    With ``s_ij`` the cosine of two patches of the second tower and ``m`` its mean::

        e_ij = gamma (s_ij - beta m),   dropped where negative;   A = softmax_j(e)

    ``m`` comes from the features in closed form, ``|mean_i f_i|^2``. Values travel to the second tower's grid
    (bilinear), where the rows live. One matrix serves all heads; prefix tokens have no weight.

    Departure: the diagonal is always kept. On a tile that is nearly the same all over (``m > 1 / beta``: blank
    sky, padding) the released code masks whole rows and answers NaN.

    Args:
        beta: factor of the mean.
        gamma: sharpness.
        parity: the diagonal may be dropped too, as in the released code; rows that keep nothing are NaN.
    """

    head_shared = True
    needs_guide = True

    def __init__(self, beta: float = 1.2, gamma: float = 3.0, parity: bool = False) -> None:
        super().__init__()
        if not gamma > 0:
            raise ValueError(f"gamma is a sharpness and must be positive; got {gamma}")
        self.beta = beta
        self.gamma = gamma
        self.parity = parity

    def output_grid(self, grid_hw: tuple[int, int], guide: GuideFeatures | None) -> tuple[int, int]:
        """The second tower's grid."""
        return _present(guide).grid_hw

    def aggregate(self, inputs: AttentionInputs, values: Tensor) -> Tensor:
        """``A Up(v)``, one tile's matrix at a time; ``(B, a, m, d)`` on the second tower's grid."""
        guide = _present(inputs.guide)
        rows = _upsample(values[:, :, inputs.num_prefix :], inputs.grid_hw, guide.grid_hw)
        mixed = [self._matrix(guide, tile).to(rows.dtype) @ rows[tile] for tile in range(len(rows))]
        return torch.stack(mixed)

    def weights(self, inputs: AttentionInputs) -> Tensor:
        """The matrix with the upsampling folded in, ``(B, 1, m, p + n)``; prefix columns are empty."""
        guide = _present(inputs.guide)
        count = inputs.grid_hw[0] * inputs.grid_hw[1]
        spread = _upsample(torch.eye(count, device=guide.patches.device)[None, None], inputs.grid_hw, guide.grid_hw)
        matrices = torch.stack([self._matrix(guide, tile) for tile in range(len(guide.patches))])
        return F.pad(matrices[:, None] @ spread, (inputs.num_prefix, 0))

    def _matrix(self, guide: GuideFeatures, tile: int) -> Tensor:
        """Row-stochastic ``(m, m)`` float32 of one tile."""
        unit = guide.patches[tile].float()
        logits = (unit @ unit.T - self.beta * guide.mean_similarity[tile]) * self.gamma
        kept = logits >= 0
        if not self.parity:
            kept.fill_diagonal_(True)
        logits.masked_fill_(~kept, -torch.inf)
        return torch.softmax(logits, dim=-1)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"beta={self.beta}, gamma={self.gamma}"


def _upsample(rows: Tensor, grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> Tensor:
    """``(B, a, n, d)`` on one grid to another; bilinear in float32, align_corners False."""
    if grid_hw == size_hw:
        return rows
    maps = rows.flatten(0, 1).transpose(1, 2).unflatten(2, grid_hw).float()
    resized = F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)
    return resized.flatten(2).transpose(1, 2).unflatten(0, rows.shape[:2]).to(rows.dtype)


def _present(guide: GuideFeatures | None) -> GuideFeatures:
    if guide is None:
        raise ValueError(
            "this affinity takes its weights from a second tower, and none was given; set guide=dict(type='DinoGuide', "
            "weights=...) in the method config"
        )
    return guide
