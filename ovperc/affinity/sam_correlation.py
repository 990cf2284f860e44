"""Trident's global step: patches of the whole image are averaged with those SAM sees as one thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.sam import SamBackbone, load_sam
from ovperc.backbones.sam_prompts import SamImage, SamPrompter
from ovperc.core.structures import DenseFeatures
from ovperc.registry import AGGREGATORS

_TAPS = ("-1.q", "-1.k", "-1.v")
_CEILING, _NEGATIVE = 0.9, 0.6


@AGGREGATORS.register_module()
class SamCorrelation:
    """Attention of SAM's last block, kept where values agree (Shi et al., Trident, section 3.3).

    With the attention ``a^h`` of head ``h`` and its unit values ``v^h``::

        S^h_ij = v^h_i . v^h_j,   tau_i = cos_factor mean_h mean_j S^h_ij
        R_ij = mean_h a^h_ij [S^h_ij > tau_i],   M = R / row sums

    ``tau`` has a closed form, ``cos_factor mean_h v^h_i . mean_j v^h_j``, and heads are streamed: no more than a few
    matrices of the valid patches are held, whatever the number of heads. Attention is normalised over the padded
    square and then cut to the image, as in the released code.

    Departures: SAM's own resize is applied to the caller's image directly (the released code first rounds it to
    whole CLIP patches), and a vanishing row sum is guarded.

    Args:
        weights: of SAM, as for ``load_sam``.
        backbone: a loaded SAM, in place of ``weights``.
        cos_factor: 1.2; 3.0 for Cityscapes, 0.0 for VOC20.
        keep_negative: leave thresholds below 0 alone (``refine_neg_cos`` in the released configs); else they
            become 0.6.
        share: 1 as published, ``M U``. Below 1 the features ``F`` keep their own grid and move a part of the way,
            ``F + share Up(M U - U)``: a residual connection round the global step.
        device, dtype: as for ``load_sam``.

    Raises:
        ValueError: a share outside (0, 1].
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        backbone: SamBackbone | None = None,
        cos_factor: float = 1.2,
        keep_negative: bool = True,
        share: float = 1.0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if backbone is not None and weights is None:
            self.backbone = backbone
        elif weights is not None and backbone is None:
            self.backbone = load_sam(weights, device=device, dtype=dtype)
        else:
            raise ValueError("SamCorrelation needs either weights (a name or a file) or a loaded backbone")
        self.prompter = SamPrompter(self.backbone)
        self.cos_factor = cos_factor
        self.keep_negative = keep_negative
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share is a part of the whole step, in (0, 1]; got {share}")
        self.share = share

    def embed(self, image: np.ndarray) -> SamImage:
        """SAM's view of an image, with what :meth:`matrix` reads."""
        return self.prompter.embed(image, _TAPS)

    def grid(self, image: SamImage) -> tuple[int, int]:
        """Patches that lie inside the image, ``(h, w)``; at least one on each axis."""
        stride = self.backbone.stride_px
        return max(image.input_hw[0] // stride, 1), max(image.input_hw[1] // stride, 1)

    @torch.inference_mode()
    def matrix(self, image: SamImage) -> Tensor:
        """``M``, ``(n, n)`` float32 over the valid patches; rows sum to 1."""
        features, (height, width) = image.features, self.grid(image)
        columns = features.grid_hw[1]
        rows = torch.arange(height, device=image.embedding.device)[:, None] * columns
        valid = (rows + torch.arange(width, device=rows.device)).flatten()
        return self.correlation(features, valid)

    def correlation(self, features: DenseFeatures, valid: Tensor) -> Tensor:
        """As :meth:`matrix`, of taps ``q``, ``k``, ``v`` and the patches ``(n,)`` int64 that lie inside the image."""
        heads = self.backbone.block(-1).num_heads
        values = features["-1.v"][0, valid].float().unflatten(-1, (heads, -1))
        unit = F.normalize(values, dim=-1)
        threshold = self.threshold(unit)[:, None]
        total = torch.zeros(len(valid), len(valid), device=unit.device)
        for head, attention in self.backbone.stream_attention(features, rows=valid):
            near = attention[0][:, valid]
            alike = unit[:, head] @ unit[:, head].T
            total += near.masked_fill_(alike <= threshold, 0.0)
        return total.div_(total.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(total.dtype).tiny))

    def threshold(self, unit: Tensor) -> Tensor:
        """``tau`` of every patch, ``(n, a, d)`` unit values ``-> (n,)``."""
        tau = self.cos_factor * (unit * unit.mean(dim=0)).sum(dim=-1).mean(dim=-1)
        if not self.keep_negative:
            tau = torch.where(tau < 0, _NEGATIVE, tau)
        return tau.clamp(max=_CEILING)

    def aggregate(self, image: SamImage, canvas: Tensor) -> Tensor:
        """``M U``: features of the whole image on SAM's grid.

        Args:
            image: from :meth:`embed`.
            canvas: ``(D, h, w)`` spliced features; resized to SAM's grid (bilinear).

        Returns:
            ``(D, h_s, w_s)`` float32; on the canvas' own grid where ``share`` is below 1.
        """
        size, canvas = self.grid(image), canvas.float()
        resized = _resize(canvas, size).flatten(1)
        mixed = resized @ self.matrix(image).T
        if self.share == 1.0:
            return mixed.unflatten(1, size)
        height, width = canvas.shape[1:]
        step = _resize((mixed - resized).unflatten(1, size), (height, width))
        return canvas + self.share * step


def _resize(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """``(D, h, w)`` to another grid; bilinear, align_corners False."""
    return F.interpolate(maps[None], size_hw, mode="bilinear", align_corners=False)[0]
