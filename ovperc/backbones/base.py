"""The contract every tower meets: taps out of a stock model, no hooks, no parameter rewritten."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from ovperc.structures import DenseFeatures, Tap


@runtime_checkable
class AttentionBlock(Protocol):
    """A view of one block's parameters: what is needed to run it with another attention.

    A full block is ``x = x + project_out(A v)`` and then ``x = x + feed_forward(x)``.
    """

    num_heads: int
    has_residual: bool
    """False for an attention pool, which has neither skip connection nor feed-forward part."""

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
        """Runs as many blocks as the taps need and no more.

        Args:
            images: ``(B, 3, H, W)`` float, normalised as the weights ask; any ``H, W >= stride_px``.
                Pixels beyond a whole number of patches are ignored, as a strided convolution does.
            taps: what to return, such as ``["-1.in", "-1.v"]``.
        """

    @abstractmethod
    def block(self, layer: int) -> AttentionBlock:
        """The block's parameters; ``layer`` may be negative."""

    @abstractmethod
    def project(self, tokens: Tensor) -> Tensor:
        """From the last block's output to the joint space, each token by itself; not normalised.

        ``(B, n, D) -> (B, n, E)``.
        """

    @abstractmethod
    def encode_pooled(self, images: Tensor) -> Tensor:
        """The tower's own image embedding ``(B, E)``, not normalised, at any image size."""
