"""Self-self attention on normalised vectors, averaged over queries, keys and values (GEM)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

from ovperc.affinity.backend import attend, check_backend, explicit_weights
from ovperc.affinity.base import Affinity, AttentionInputs
from ovperc.affinity.self_attention import parse_pairs
from ovperc.registry import AFFINITIES


@AFFINITIES.register_module()
class EnsembleAttention(Affinity):
    """Mean over points ``s`` of ``softmax(t s s^T)`` on unit vectors (GEM, Bousselham et al., CVPR 2024, section 3).

    Each point is first smoothed by its own attention, ``s <- softmax(t s s^T) s``, and brought back to unit
    length. The inverse temperature ``t = mean_i |LN1(x_i)| / sqrt(d)`` comes from the block's input, per image.

    Args:
        points: attention points that are averaged.
        iterations: smoothing steps before the attention over values.
        backend: ``"sdpa"`` or ``"xformers"``.
    """

    def __init__(self, points: Sequence[str] = ("q", "k", "v"), iterations: int = 1, backend: str = "sdpa") -> None:
        super().__init__()
        parse_pairs([point * 2 for point in points])
        if iterations < 0:
            raise ValueError(f"iterations counts smoothing steps and must not be negative; got {iterations}")
        self.points = tuple(points)
        self.iterations = iterations
        self.backend = check_backend(backend)
        self.needs = tuple(sorted({"ln_1", *self.points} - {"v"}))

    def aggregate(self, inputs: AttentionInputs, values: Tensor) -> Tensor:
        """Fused attention calls, one for each point and smoothing step; ``(B, a, n, d)``."""
        parts = [attend(query, key, values, backend=self.backend) for query, key in self._operands(inputs)]
        return sum(parts[1:], start=parts[0]) / len(parts)

    def weights(self, inputs: AttentionInputs) -> Tensor:
        """The mean of the last softmax matrices, ``(B, a, n, p + n)``."""
        parts = [explicit_weights(query, key) for query, key in self._operands(inputs)]
        return sum(parts[1:], start=parts[0]) / len(parts)

    def _operands(self, inputs: AttentionInputs) -> Iterator[tuple[Tensor, Tensor]]:
        """Per point: patch queries that hold the temperature, and unit keys; ``attend`` divides by ``sqrt(d)``."""
        tokens = inputs["ln_1"].float()
        size = tokens.square().sum(dim=(1, 3)).sqrt().mean(dim=1)[:, None, None, None].to(inputs["v"].dtype)
        for point in self.points:
            unit = _unit(inputs[point])
            for _ in range(self.iterations):
                unit = _unit(attend(unit * size, unit, unit, backend=self.backend))
            yield unit[:, :, inputs.num_prefix :] * size, unit

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"points={self.points}, iterations={self.iterations}, backend={self.backend!r}"


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of unit length, by norms in float32."""
    return F.normalize(vectors.float(), dim=-1).to(vectors.dtype)
