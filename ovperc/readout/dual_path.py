"""Readout over several blocks: a side stream that gathers each block's attention branch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ovperc.affinity.base import Affinity, AttentionInputs
from ovperc.backbones.base import DenseBackbone
from ovperc.core.structures import DenseFeatures, GuideFeatures, Tap
from ovperc.readout.base import Readout, attend_block, block_taps, resize_tokens
from ovperc.registry import AFFINITIES, READOUTS


@READOUTS.register_module()
class DualPathReadout(Readout):
    """The second path of CLIP Surgery (Li et al., 2023, eq. 6): ``x = x_in(L - m) + sum_l W_o (A_l v_l) + b_o``.

    Every block of the sum reads the original stream, and nothing flows back into it, so the tower runs
    unmodified and the sum is a side branch of its taps. There is no feed-forward part on this path.

    With an affinity that a second tower gives (``GuideAffinity``), the matrix is the same for all blocks, so
    ``sum_l A (W_o v_l + b_o) = A sum_l (W_o v_l + b_o)``: it is applied once.

    Args:
        affinity: an affinity, or ``dict(type=NAME, ...)``; v-v attention in the paper.
        layers: number ``m`` of last blocks that are summed; at most all of them. An attention pool has no
            stream, so only its own output is read.
    """

    def __init__(self, affinity: Affinity | dict[str, Any], layers: int = 6) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers counts the blocks to sum and must be at least 1; got {layers}")
        self.affinity: Affinity = AFFINITIES.build(affinity)
        self.layers = layers

    def own_taps(self, backbone: DenseBackbone) -> list[Tap]:
        """The stream that enters the first summed block, and what the affinity reads in each."""
        layers = self._summed(backbone)
        stream = [Tap(layers[0], "in")] if backbone.block(-1).has_residual else []
        return stream + [tap for layer in layers for tap in block_taps(layer, self.affinity)]

    def output_grid(self, features: DenseFeatures, guide: GuideFeatures | None) -> tuple[int, int]:
        """The affinity's."""
        return self.affinity.output_grid(features.grid_hw, guide)

    def tokens(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """The side stream's patch tokens, ``(B, n, D)``."""
        layers = self._summed(backbone)
        branches = self._branches(backbone, layers, features, guide)
        if backbone.block(-1).has_residual:
            stream = features.patches(Tap(layers[0], "in"))
            branches.append(resize_tokens(stream, features.grid_hw, self.output_grid(features, guide)))
        return sum(branches[1:], start=branches[0])

    def _branches(
        self, backbone: DenseBackbone, layers: range, features: DenseFeatures, guide: GuideFeatures | None
    ) -> list[Tensor]:
        """What the blocks add; one matrix that serves all of them is applied to their sum, once."""
        blocks = [backbone.block(layer) for layer in layers]
        if not self.affinity.serves_all_blocks or not all(block.affine_output for block in blocks):
            pairs = zip(layers, blocks, strict=True)
            return [attend_block(block, layer, self.affinity, features, guide) for layer, block in pairs]
        projected = [block.project_out(features[Tap(layer, "v")]) for layer, block in zip(layers, blocks, strict=True)]
        total = sum(projected[1:], start=projected[0])[:, None]
        inputs = AttentionInputs({"v": total}, features.grid_hw, features.num_prefix, guide)
        return [self.affinity.aggregate(inputs, total)[:, 0]]

    def _summed(self, backbone: DenseBackbone) -> range:
        count = self.layers if backbone.block(-1).has_residual else 1
        return range(max(0, backbone.depth - count), backbone.depth)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"layers={self.layers}"
