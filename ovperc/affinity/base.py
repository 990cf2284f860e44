"""The affinity contract: how much each patch token listens to every token of its own image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ovperc.core.structures import GuideFeatures
from ovperc.registry import AFFINITIES


@dataclass(frozen=True)
class AttentionInputs:
    """What one attention layer offers an affinity; axes ``a`` heads of width ``d``.

    Attributes:
        heads: point (``q``, ``k``, ``v``; any other tap that an affinity needs, cut into heads too) ->
            ``(B, a, p + n, d)``, prefix tokens first.
        grid_hw: patch grid ``(h, w)``, ``n = h * w``.
        num_prefix: number ``p`` of prefix tokens.
        guide: what a second tower says, for methods that take their affinity from elsewhere.
    """

    heads: Mapping[str, Tensor]
    grid_hw: tuple[int, int]
    num_prefix: int
    guide: GuideFeatures | None = None

    def __getitem__(self, point: str) -> Tensor:
        if point not in self.heads:
            raise KeyError(f"attention point {point!r} was not tapped; present: {', '.join(sorted(self.heads))}")
        return self.heads[point]

    def patches(self, point: str) -> Tensor:
        """Patch rows of a point, ``(B, a, n, d)``."""
        return self[point][:, :, self.num_prefix :]


class Affinity(nn.Module, ABC):
    """Weights from patch tokens (rows) to all tokens (columns), with statistics of one image only.

    Attributes:
        needs: points of the block that the affinity reads beside the values.
        head_shared: one matrix for all heads, whose rows sum to 1. An affine output projection then commutes with
            it and may be applied to the values first.
        needs_guide: reads what a second tower says.
    """

    needs: tuple[str, ...] = ()
    head_shared: bool = False
    needs_guide: bool = False

    @property
    def serves_all_blocks(self) -> bool:
        """Whether one matrix, the same in every block, serves all heads: it reads no point of the block."""
        return self.head_shared and not self.needs

    def output_grid(self, grid_hw: tuple[int, int], guide: GuideFeatures | None) -> tuple[int, int]:
        """Grid of the rows that come out; the tower's own, unless a subclass says otherwise."""
        return grid_hw

    @abstractmethod
    def aggregate(self, inputs: AttentionInputs, values: Tensor) -> Tensor:
        """The weighted sums of the values, without a stored weight matrix where that can be had.

        Args:
            inputs: the layer's points.
            values: ``(B, a, p + n, d)``.

        Returns:
            Patch rows only, ``(B, a, n, d)``, on :meth:`output_grid`.
        """

    @abstractmethod
    def weights(self, inputs: AttentionInputs) -> Tensor:
        """The explicit matrix, for inspection: ``(B, a or 1, n, p + n)`` float32.

        ``aggregate`` equals this matrix times the values.
        """


@AFFINITIES.register_module()
class Identity(Affinity):
    """Every patch keeps its own value (MaskCLIP, Zhou et al., ECCV 2022, section 3.2)."""

    def aggregate(self, inputs: AttentionInputs, values: Tensor) -> Tensor:
        """The patch rows of the values; nothing is computed."""
        return values[:, :, inputs.num_prefix :]

    def weights(self, inputs: AttentionInputs) -> Tensor:
        """An identity matrix beside empty prefix columns, ``(B, 1, n, p + n)``."""
        values = inputs["v"]
        tokens = values.shape[2]
        eye = torch.eye(tokens, device=values.device)[inputs.num_prefix :]
        return eye.expand(values.shape[0], 1, -1, -1)
