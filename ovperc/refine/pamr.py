"""Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.refine.base import Refiner
from ovperc.registry import REFINERS

_DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
# Channels smoothed together: few enough to stay in cache over all samples.
_GROUP_FLOATS = 2**20


@dataclass(frozen=True)
class PamrState:
    """Weights of one image.

    Attributes:
        weights: ``(8 * dilations, H, W)`` float32, sum 1 over the first axis.
    """

    weights: Tensor


@REFINERS.register_module()
class PAMR(Refiner):
    """Repeats ``M <- sum_p w_p shift_p(M)`` over the 8 neighbours at every dilation.

    ``w = softmax_p(mean_channels(-|I - I_p| / (1e-8 + 0.1 sigma)))`` jointly over all dilations, with
    ``sigma`` the unbiased deviation per channel over neighbours and centre (the centre once per dilation)
    and replicated borders. The centre itself is not averaged. Weights do not change under an affine change
    of the guidance's channels, so raw and normalised images serve alike.

    Args:
        steps: repetitions; 0 leaves the maps as they are.
        dilations: distances of the neighbours in pixels.
    """

    def __init__(self, steps: int = 10, dilations: Sequence[int] = (8, 16)) -> None:
        if steps < 0:
            raise ValueError(f"steps must not be negative; got {steps}")
        if not dilations or min(dilations) < 1:
            raise ValueError(f"dilations are distances of at least one pixel; got {tuple(dilations)}")
        self.steps = steps
        self.dilations = tuple(dilations)

    def prepare(self, guidance: Tensor) -> PamrState:
        """Weights of one image.

        Args:
            guidance: ``(3, H, W)``, any affine range.
        """
        image = guidance.to(torch.float32)
        spread = self._deviation(image).mul_(0.1).add_(1e-8)
        neighbours = self._neighbours(self._pad(image), image.shape[-2:])
        logits = [(image - neighbour).abs_().div_(spread).mean(dim=0).neg_() for neighbour in neighbours]
        return PamrState(torch.softmax(torch.stack(logits), dim=0))

    def refine(self, maps: Tensor, state: PamrState) -> Tensor:
        """Smooths maps.

        Args:
            maps: ``(K, h, w)``; resized to the guidance's size (bilinear, align_corners True) where it differs.
            state: from :meth:`prepare`.

        Returns:
            ``(K, H, W)`` float32, a new tensor.
        """
        size_hw = state.weights.shape[-2:]
        current = maps.to(torch.float32, copy=True)
        if current.shape[-2:] != size_hw:
            current = F.interpolate(current[None], size=size_hw, mode="bilinear", align_corners=True)[0]
        for channels in current.split(max(_GROUP_FLOATS // current[0].numel(), 1)):
            for _ in range(self.steps):
                padded = self._pad(channels)
                channels.zero_()
                for weight, neighbour in zip(state.weights, self._neighbours(padded, size_hw), strict=True):
                    channels.addcmul_(neighbour, weight)
        return current

    def _deviation(self, image: Tensor) -> Tensor:
        """Unbiased deviation per channel and pixel over all samples, in two passes for accuracy."""
        padded, centres, count = self._pad(image), len(self.dilations), 9 * len(self.dilations)
        mean = image * centres
        for neighbour in self._neighbours(padded, image.shape[-2:]):
            mean += neighbour
        mean /= count
        squares = (image - mean).square_().mul_(centres)
        for neighbour in self._neighbours(padded, image.shape[-2:]):
            squares += (neighbour - mean).square_()
        return squares.div_(count - 1).sqrt_()

    def _pad(self, maps: Tensor) -> Tensor:
        border = max(self.dilations)
        return F.pad(maps[None], (border,) * 4, mode="replicate")[0]

    def _neighbours(self, padded: Tensor, size_hw: Sequence[int]) -> Iterator[Tensor]:
        """Shifted views of a padded tensor, one per direction and dilation."""
        border, (height, width) = max(self.dilations), size_hw
        for dilation in self.dilations:
            for down, right in _DIRECTIONS:
                top, left = border + down * dilation, border + right * dilation
                yield padded[:, top : top + height, left : left + width]
