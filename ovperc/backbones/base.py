"""The contract every tower meets: taps out of a stock model, no hooks, no parameter rewritten."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ovperc.core.structures import DenseFeatures, Tap

POOLED = Tap(-1, "pooled")
"""The tower's own image embedding."""


@runtime_checkable
class AttentionBlock(Protocol):
    """A view of one block's parameters: what is needed to run it with another attention.

    A full block is ``x = x + project_out(A v)`` and then ``x = x + feed_forward(x)``.
    """

    num_heads: int
    has_residual: bool
    """False for an attention pool, which has neither skip connection nor feed-forward part."""
    affine_output: bool
    """Whether ``project_out`` is affine, so that it commutes with weights that sum to 1 and are shared by heads."""

    def project_out(self, tokens: Tensor) -> Tensor:
        """``W_o t + b_o`` (and layer scale, where the block has one); ``(B, n, D) -> (B, n, D_out)``."""

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """The feed-forward branch, its norm included and the skip connection excluded; ``(B, n, D)``."""


class DenseBackbone(nn.Module, ABC):
    """Wraps a stock image tower (as ``self.tower``) and answers with taps.

    Attributes:
        stride_px: pixels per patch, the same on both axes.
        depth: number of blocks that taps can name.
        width: channels ``D`` of the tokens.
        embed_dim: channels ``E`` of the joint space (``width`` where the tower has no text side).
        num_prefix: prefix tokens before the patches.
    """

    stride_px: int
    depth: int
    width: int
    embed_dim: int
    num_prefix: int

    @abstractmethod
    def forward_dense(self, images: Tensor, taps: Sequence[Tap | str]) -> DenseFeatures:
        """One pass of the tower: as many blocks as the taps need and no more.

        Args:
            images: ``(B, 3, H, W)`` float, normalised as the weights ask; any ``H, W >= stride_px``.
                Pixels beyond a whole number of patches are ignored, as a strided convolution does.
            taps: what to return, such as ``["-1.in", "-1.v"]``. ``q`` and ``k`` are what enters the dot
                product: after query/key norms and rotary positions, where a tower has them.
        """

    @abstractmethod
    def block(self, layer: int) -> AttentionBlock:
        """The block's parameters; ``layer`` may be negative."""

    @abstractmethod
    def project(self, tokens: Tensor) -> Tensor:
        """From the last block's output to the joint space, each token by itself; not normalised.

        ``(B, n, D) -> (B, n, E)``.
        """

    def encode_pooled(self, images: Tensor) -> Tensor:
        """The tower's own image embedding ``(B, E)``, not normalised, at any image size: the tap ``-1.pooled``."""
        return self.forward_dense(images, [POOLED])[POOLED]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the tower's weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the tower's weights."""
        return next(self.parameters()).device

    def _whole_patches(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images cut to a whole number of patches, in the tower's dtype, and the patch grid ``(h, w)``."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"images must be a normalised float tensor (B, 3, H, W); got {tuple(images.shape)} {images.dtype}"
            )
        height, width = images.shape[-2:]
        grid_hw = (height // self.stride_px, width // self.stride_px)
        if min(grid_hw) < 1:
            raise ValueError(
                f"an image side must hold at least one patch of {self.stride_px} px; got {height} x {width} px: "
                "enlarge the image"
            )
        images = images[..., : grid_hw[0] * self.stride_px, : grid_hw[1] * self.stride_px]
        return images.to(self.dtype), grid_hw

    def _resolve_layer(self, layer: int) -> int:
        return Tap(layer, "in").resolve(self.depth).layer


def resolve_taps(taps: Sequence[Tap | str], depth: int) -> frozenset[Tap]:
    """Taps with layers counted from 0; raises ValueError for an empty request."""
    resolved = frozenset((Tap.parse(tap) if isinstance(tap, str) else tap).resolve(depth) for tap in taps)
    if not resolved:
        raise ValueError("forward_dense needs at least one tap, such as '-1.v'")
    return resolved


def split_heads(tokens: Tensor, num_heads: int) -> Tensor:
    """``(B, n, a * d) -> (B, a, n, d)``."""
    return tokens.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(heads: Tensor) -> Tensor:
    """``(B, a, n, d) -> (B, n, a * d)``."""
    return heads.transpose(1, 2).flatten(2)
