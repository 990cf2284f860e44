"""Readout after projection: patches of the joint space are averaged with those they belong to."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ovperc.affinity.base import Affinity, AttentionInputs
from ovperc.backbones.base import DenseBackbone, split_heads
from ovperc.core.structures import DenseFeatures, GuideFeatures, Tap
from ovperc.readout.base import Readout, resize_tokens
from ovperc.registry import AFFINITIES, READOUTS


@READOUTS.register_module()
class PooledReadout(Readout):
    """Another readout's embeddings ``v``, then ``A v`` with any affinity, before they are normalised.

    The block keeps its residual stream and feed-forward part this way, which towers need whose patches speak mostly
    through them (pooled by the mean, or with a convolutional stem); an affinity inside the block loses both.
    Affinities with several heads are averaged over them.

    Args:
        affinity: an affinity, or ``dict(type=NAME, ...)``; what it reads of the tower is taken from ``layer``.
        readout: where the embeddings come from; left out, MaskCLIP's.
        layer: block whose points the affinity reads.
    """

    def __init__(
        self,
        affinity: Affinity | dict[str, Any],
        readout: Readout | dict[str, Any] | None = None,
        layer: int = -1,
    ) -> None:
        super().__init__()
        self.affinity: Affinity = AFFINITIES.build(affinity)
        self.readout: Readout = READOUTS.build(readout or {"type": "BlockReadout", "affinity": {"type": "Identity"}})
        self.layer = layer

    def own_taps(self, backbone: DenseBackbone) -> list[Tap]:
        """The inner readout's, and what the affinity reads."""
        return [*self.readout.own_taps(backbone), *(Tap(self.layer, point) for point in self.affinity.needs)]

    def output_grid(self, features: DenseFeatures, guide: GuideFeatures | None) -> tuple[int, int]:
        """The affinity's."""
        return self.affinity.output_grid(features.grid_hw, guide)

    def tokens(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """The inner readout's, before pooling."""
        return self.readout.tokens(backbone, features, guide)

    def embed(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """``A v``, ``(B, m, E)`` on the affinity's grid."""
        embedded = self.readout.embed(backbone, features, guide).float()
        grid_hw = self.readout.output_grid(features, guide)
        if self.affinity.needs:  # the points lie on the tower's grid
            embedded, grid_hw = resize_tokens(embedded, grid_hw, features.grid_hw), features.grid_hw
        embedded = embedded[:, None]
        heads = backbone.block(self.layer).num_heads if self.affinity.needs else 1
        points = {point: split_heads(features.patches(Tap(self.layer, point)), heads) for point in self.affinity.needs}
        values = embedded.expand(-1, heads, -1, -1).to(next(iter(points.values())).dtype) if points else embedded
        inputs = AttentionInputs({**points, "v": values}, grid_hw, 0, guide)
        return self.affinity.aggregate(inputs, values).float().mean(dim=1)
