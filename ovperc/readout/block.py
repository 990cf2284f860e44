"""Readout inside one block: another attention over its values, with or without the rest of the block."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ovperc.affinity.base import Affinity
from ovperc.backbones.base import DenseBackbone
from ovperc.core.structures import DenseFeatures, GuideFeatures, Tap
from ovperc.readout.base import Readout, attend_block, block_taps, resize_tokens
from ovperc.registry import AFFINITIES, READOUTS


@READOUTS.register_module()
class BlockReadout(Readout):
    """Runs one block with the given affinity: ``y = W_o (A v) + b_o``.

    ``residual`` adds the stream that enters the block, ``ffn`` then adds the feed-forward branch. Blocks
    without these (the attention pool of a ResNet, the head of a ConvNeXt) ignore both switches.

    Args:
        affinity: an affinity, or ``dict(type=NAME, ...)``.
        residual: keep the block's skip connection.
        ffn: keep the block's feed-forward part.
        layer: which block; blocks after it are skipped.
    """

    def __init__(
        self, affinity: Affinity | dict[str, Any], residual: bool = True, ffn: bool = True, layer: int = -1
    ) -> None:
        super().__init__()
        self.affinity: Affinity = AFFINITIES.build(affinity)
        self.residual = residual
        self.ffn = ffn
        self.layer = layer

    def own_taps(self, backbone: DenseBackbone) -> list[Tap]:
        """The values, what the affinity needs, and the residual stream where it is kept."""
        keeps_stream = self.residual and backbone.block(self.layer).has_residual
        return [*block_taps(self.layer, self.affinity), *([Tap(self.layer, "in")] if keeps_stream else [])]

    def output_grid(self, features: DenseFeatures, guide: GuideFeatures | None) -> tuple[int, int]:
        """The affinity's."""
        return self.affinity.output_grid(features.grid_hw, guide)

    def tokens(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """The block's patch tokens, ``(B, n, D)``."""
        block = backbone.block(self.layer)
        tokens = attend_block(block, self.layer, self.affinity, features, guide)
        if not block.has_residual:
            return tokens
        if self.residual:
            stream = features.patches(Tap(self.layer, "in"))
            tokens = resize_tokens(stream, features.grid_hw, self.output_grid(features, guide)) + tokens
        return tokens + block.feed_forward(tokens) if self.ffn else tokens

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"residual={self.residual}, ffn={self.ffn}, layer={self.layer}"
