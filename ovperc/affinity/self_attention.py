"""Attention of a block's own queries, keys and values with themselves or each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ovperc.affinity.backend import attend, check_backend, explicit_weights
from ovperc.affinity.base import Affinity, AttentionInputs
from ovperc.registry import AFFINITIES

_POINTS = "qkv"


def parse_pairs(pairs: Sequence[str]) -> tuple[str, ...]:
    """Checks pairs of attention points, such as ``("qq", "kk")``.

    Raises:
        ValueError: no pair at all, or one that is not two letters of q, k, v.
    """
    if isinstance(pairs, str):
        pairs = (pairs,)
    bad = [pair for pair in pairs if len(pair) != 2 or any(point not in _POINTS for point in pair)]
    if bad or not pairs:
        raise ValueError(
            f"pairs must name attention points two by two, such as ('qq',) or ('qq', 'kk'); got {tuple(pairs)!r}"
        )
    return tuple(pairs)


@AFFINITIES.register_module()
class SelfAttention(Affinity):
    """Sum over pairs ``(l, r)`` of ``softmax(l r^T / sqrt(d) + bias)``; rows sum to the number of pairs.

    ``("qk",)`` is the block as trained, ``("qq", "kk")`` SCLIP's correlative self-attention (Wang et al.,
    ECCV 2024, eq. 4: a sum, not a mean), ``("qq",)`` ClearCLIP (Lan et al., ECCV 2024), ``("vv",)`` CLIP Surgery
    (Li et al., 2023). Each pair is one fused attention call over patch queries and class + patch keys.

    Args:
        pairs: points of queries and keys, pair by pair.
        drop_prefix: leave prefix tokens (class, registers) out of the keys.
        backend: ``"sdpa"`` or ``"xformers"``; see :mod:`ovperc.affinity.backend`.
    """

    def __init__(self, pairs: Sequence[str] = ("qk",), drop_prefix: bool = False, backend: str = "sdpa") -> None:
        super().__init__()
        self.pairs = parse_pairs(pairs)
        self.drop_prefix = drop_prefix
        self.backend = check_backend(backend)
        self.needs = tuple(sorted(set("".join(self.pairs)) - {"v"}))

    def logit_bias(self, inputs: AttentionInputs) -> Tensor | None:
        """What is added to the logits, broadcasting to ``(B, a, n, p + n)``; nothing here."""
        return None

    def operands(self, inputs: AttentionInputs, pair: str) -> tuple[Tensor, Tensor]:
        """Queries ``(B, a, n, d)`` of the patches and keys ``(B, a, p + n, d)`` of all tokens."""
        return inputs.patches(pair[0]), inputs[pair[1]]

    def aggregate(self, inputs: AttentionInputs, values: Tensor) -> Tensor:
        """One fused attention call per pair, summed; ``(B, a, n, d)``."""
        start = inputs.num_prefix if self.drop_prefix else 0
        bias = self.logit_bias(inputs)
        bias = None if bias is None else bias[..., start:].to(values.dtype)
        operands = (self.operands(inputs, pair) for pair in self.pairs)
        parts = [
            attend(query, key[:, :, start:], values[:, :, start:], bias, backend=self.backend)
            for query, key in operands
        ]
        return sum(parts[1:], start=parts[0])

    def weights(self, inputs: AttentionInputs) -> Tensor:
        """The summed softmax matrices, ``(B, a, n, p + n)``; dropped prefix columns are zero."""
        start = inputs.num_prefix if self.drop_prefix else 0
        bias = self.logit_bias(inputs)
        bias = None if bias is None else bias[..., start:]
        operands = (self.operands(inputs, pair) for pair in self.pairs)
        parts = [explicit_weights(query, key[:, :, start:], bias) for query, key in operands]
        return F.pad(sum(parts[1:], start=parts[0]), (start, 0))

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"pairs={self.pairs}, drop_prefix={self.drop_prefix}, backend={self.backend!r}"
