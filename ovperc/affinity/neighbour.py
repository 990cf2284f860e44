"""Self-attention with a preference for near patches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.affinity.base import AttentionInputs
from ovperc.affinity.self_attention import SelfAttention
from ovperc.registry import AFFINITIES


def gaussian_prior(grid_hw: tuple[int, int], sigma: float, *, device: torch.device | str | None = None) -> Tensor:
    """``exp(-((i - i')^2 + (j - j')^2) / (2 sigma^2))`` between all patches of a grid.

    The exponential of a sum is the outer product of two one-dimensional Gaussians, rows by columns.

    Args:
        grid_hw: patch grid ``(h, w)``.
        sigma: standard deviation in patches.
        device: where to make it.

    Returns:
        ``(h*w, h*w)`` float32, symmetric, ones on the diagonal.
    """

    def axis(length: int) -> Tensor:
        steps = torch.arange(length, dtype=torch.float32, device=device)
        return torch.exp(-((steps[:, None] - steps[None, :]) ** 2) / (2 * sigma**2))

    rows, columns = axis(grid_hw[0]), axis(grid_hw[1])
    return (rows[:, None, :, None] * columns[None, :, None, :]).flatten(0, 1).flatten(1)


@AFFINITIES.register_module()
class NeighbourAttention(SelfAttention):
    """Attention whose logits gain a Gaussian of the distance (NACLIP, Hajimiri et al., WACV 2025, eq. 5-7).

    The Gaussian has amplitude 1 and is not divided by ``sqrt(d)``; prefix tokens stay keys with a bias of 0.

    Args:
        pairs: points of queries and keys.
        sigma: standard deviation of the Gaussian, in patches.
        content: False leaves the similarity of tokens out (the paper's "neighbourhood only" ablation): the
            Gaussian is then scaled by the image's mean of ``|q| |k| / sqrt(d)`` over heads and tokens, so
            that it has the size of the logits it replaces.
        drop_prefix: leave prefix tokens out of the keys.
        backend: ``"sdpa"`` or ``"xformers"``.
    """

    def __init__(
        self,
        pairs: Sequence[str] = ("kk",),
        sigma: float = 5.0,
        content: bool = True,
        drop_prefix: bool = False,
        backend: str = "sdpa",
    ) -> None:
        super().__init__(pairs, drop_prefix, backend)
        if not sigma > 0:
            raise ValueError(f"sigma is a distance in patches and must be positive; got {sigma}")
        self.sigma = float(sigma)
        self.content = content
        if not content:
            self.needs = ("k", "q")

    def logit_bias(self, inputs: AttentionInputs) -> Tensor:
        """The Gaussian with zero prefix columns, ``(1 or B, 1, n, p + n)`` float32."""
        prior = gaussian_prior(inputs.grid_hw, self.sigma, device=inputs["v"].device)
        prior = F.pad(prior, (inputs.num_prefix, 0))[None, None]
        return prior if self.content else prior * _mean_logit_size(inputs["q"], inputs["k"])

    def operands(self, inputs: AttentionInputs, pair: str) -> tuple[Tensor, Tensor]:
        """As in self-attention; zero queries where content is left out."""
        query, key = super().operands(inputs, pair)
        return (query if self.content else torch.zeros_like(query)), key

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"{super().extra_repr()}, sigma={self.sigma}, content={self.content}"


def _mean_logit_size(query: Tensor, key: Tensor) -> Tensor:
    """Mean of ``|q_i| |k_j| / sqrt(d)`` over heads and token pairs of each image, ``(B, 1, 1, 1)`` float32."""
    query_norm, key_norm = (x.float().norm(dim=-1).mean(dim=-1) for x in (query, key))
    return (query_norm * key_norm).mean(dim=1)[:, None, None, None] / math.sqrt(query.shape[-1])
