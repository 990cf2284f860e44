"""Upsamples patch scores to pixel maps, with upsampling and Gaussian blur as two small matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.core.inference import inference
from ovperc.core.naming import suggest

Combine = Literal["mean", "sigmoid_mean"]
_TRUNCATE = 4.0
"""Radius of the Gaussian in standard deviations, as in scipy."""


@dataclass(frozen=True)
class MapUpsampler:
    """Computes ``map = A_y S A_x^T`` with ``A = R G U B`` on each axis.

    ``B`` is a box filter on the grid, ``U`` bilinear upsampling to the tower's input, ``G`` a Gaussian there (equal
    to ``scipy.ndimage.gaussian_filter`` with its default border, which repeats the edge pixel) and ``R`` a bilinear
    resize to the output size. All are linear and separable, so scores stay on the patch grid until a map is needed.

    Args:
        stride_px: pixels of the tower's input per patch.
        sigma_px: standard deviation of the Gaussian in pixels of the tower's input; 0 for none.
        align_corners: whether ``U`` aligns the outermost patches with the outermost pixels (APRIL-GAN, AnoVL).
        box: odd side of the box filter in patches, with replicated borders (AnoVL: 3); 1 for none.
        combine: how several maps are combined: their mean, or (APRIL-GAN) the mean of their sigmoids after
            upsampling.

    Raises:
        ValueError: a size is not positive, the box is even, or ``combine`` is unknown.
    """

    stride_px: int
    sigma_px: float = 4.0
    align_corners: bool = False
    box: int = 1
    combine: Combine = "mean"

    def __post_init__(self) -> None:
        if self.stride_px < 1 or self.sigma_px < 0:
            raise ValueError(
                f"stride_px must be at least 1 and sigma_px non-negative; got {self.stride_px} and {self.sigma_px}"
            )
        if self.box < 1 or self.box % 2 == 0:
            raise ValueError(f"box must be an odd number of patches; got {self.box}")
        if self.combine not in get_args(Combine):
            raise ValueError(f"unknown combine {self.combine!r}; {suggest(str(self.combine), get_args(Combine))}")

    @inference()
    def upsample(self, grid: np.ndarray, out_hw: tuple[int, int]) -> np.ndarray:
        """Upsamples the scores of an image.

        Args:
            grid: ``(h, w)`` or ``(K, h, w)`` float32, as in :class:`ovperc.tasks.anomaly.score.AnomalyScore`.
            out_hw: height and width of the map, px.

        Returns:
            ``(H, W)`` float32.

        Raises:
            ValueError: the grid has another shape, or the map is empty.
        """
        stack = np.asarray(grid, dtype=np.float32)
        if stack.ndim == 2:
            stack = stack[None]
        return self.render_batch(torch.from_numpy(np.ascontiguousarray(stack))[None], out_hw)[0].numpy()

    def render_batch(self, grids: Tensor, out_hw: tuple[int, int]) -> Tensor:
        """Upsamples the scores of several images on their device, ``(B, K, h, w) -> (B, H, W)`` float32."""
        if grids.ndim != 4 or grids.numel() == 0 or min(out_hw) < 1:
            raise ValueError(
                f"expected grids (h, w) or (K, h, w) and a size of at least 1 px; got {tuple(grids.shape)}, {out_hw}"
            )
        grids = grids.float()
        if self.combine == "mean":
            return self._linear(grids.mean(dim=1), out_hw)
        return torch.stack([self._linear(layer, out_hw).sigmoid() for layer in grids.unbind(1)]).mean(dim=0)

    def operator(self, patches: int, pixels: int, device: torch.device | str = "cpu") -> Tensor:
        """``A`` of one axis, ``(pixels, patches)`` float32; rows sum to 1. Treat as read-only."""
        return _operator(self, patches, pixels, torch.device(device))

    def _linear(self, grids: Tensor, out_hw: tuple[int, int]) -> Tensor:
        height, width = grids.shape[-2:]
        rows = self.operator(height, out_hw[0], grids.device)
        cols = self.operator(width, out_hw[1], grids.device)
        return rows @ grids @ cols.T


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _operator(upsampler: MapUpsampler, patches: int, pixels: int, device: torch.device) -> Tensor:
    columns = torch.eye(patches, dtype=torch.float64)[:, None]  # (patches, 1, length): one signal per column of A
    if upsampler.box > 1:
        reach = upsampler.box // 2
        columns = F.avg_pool1d(F.pad(columns, (reach, reach), mode="replicate"), upsampler.box, stride=1)
    length = patches * upsampler.stride_px
    columns = F.interpolate(columns, size=length, mode="linear", align_corners=upsampler.align_corners and length > 1)
    if upsampler.sigma_px > 0:
        kernel = gaussian_kernel(upsampler.sigma_px)
        places = _mirrored(torch.arange(-(len(kernel) // 2), length + len(kernel) // 2), length)
        columns = F.conv1d(columns[..., places], kernel[None, None])
    if pixels != length:
        columns = F.interpolate(columns, size=pixels, mode="linear", align_corners=False)
    return columns[:, 0].T.to(torch.float32).contiguous().to(device)


def gaussian_kernel(sigma_px: float) -> Tensor:
    """Normalised Gaussian of ``2 int(4 sigma + 0.5) + 1`` taps, float64."""
    reach = int(_TRUNCATE * sigma_px + 0.5)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma_px).square())
    return weights / weights.sum()


def _mirrored(places: Tensor, length: int) -> Tensor:
    """Indices outside ``0..length-1`` reflected, with the edge repeated: ``d c b a | a b c d | d c b a``."""
    folded = places.remainder(2 * length)
    return torch.minimum(folded, 2 * length - 1 - folded)
