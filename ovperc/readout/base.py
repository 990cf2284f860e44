"""The readout contract: from the taps of a tower to patch embeddings in the joint image-text space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.affinity.base import Affinity, AttentionInputs
from ovperc.backbones.base import POOLED, AttentionBlock, DenseBackbone, merge_heads, split_heads
from ovperc.core.structures import DenseEmbeddings, DenseFeatures, GuideFeatures, Tap


class Readout(nn.Module, ABC):
    """Names the taps it reads and turns them into :class:`DenseEmbeddings`; subclasses write two methods.

    A readout owns no parameter of the tower: it is handed the backbone at every call.
    """

    @abstractmethod
    def own_taps(self, backbone: DenseBackbone) -> list[Tap]:
        """What :meth:`tokens` reads."""

    @abstractmethod
    def tokens(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """Patch tokens as the last block would give them, ``(B, n, D)``, before the final norm and projection."""

    def embed(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """Patches in the joint space, not normalised, ``(B, n, E)``."""
        return backbone.project(self.tokens(backbone, features, guide))

    def foreground(self, features: DenseFeatures) -> Tensor | None:
        """Logits of "some object is here", ``(B, h, w)``, of readouts that predict them."""
        return None

    def output_grid(self, features: DenseFeatures, guide: GuideFeatures | None) -> tuple[int, int]:
        """Grid of :meth:`tokens`: the tower's own, or that of an affinity which brings another."""
        return features.grid_hw

    def taps(self, backbone: DenseBackbone, *, with_keys: bool = False, with_pooled: bool = False) -> list[Tap]:
        """Everything to ask of ``backbone.forward_dense``, resolved and without repeats.

        Args:
            backbone: the tower that will be read.
            with_keys: also what :meth:`forward` reads for keys.
            with_pooled: also what it reads for the image embedding.
        """
        more = [*([Tap(-1, "k")] if with_keys else []), *([POOLED] if with_pooled else [])]
        wanted = [*self.own_taps(backbone), *more]
        return sorted({tap.resolve(backbone.depth) for tap in wanted})

    def forward(
        self,
        backbone: DenseBackbone,
        features: DenseFeatures,
        guide: GuideFeatures | None = None,
        *,
        with_keys: bool = False,
        with_pooled: bool = False,
    ) -> DenseEmbeddings:
        """Reads patch embeddings out of the taps.

        Args:
            backbone: the tower that made ``features``.
            features: its taps, as named by :meth:`taps`.
            guide: what a second tower says of the same tiles, for affinities that use one.
            with_keys: also return the last block's keys.
            with_pooled: also return the tower's own image embedding.

        Returns:
            ``patches`` ``(B, E, h, w)`` float32 with unit norm over ``E``; ``keys`` ``(B, n, D)`` or None; ``pooled``
            ``(B, E)`` float32, unit rows, or None.
        """
        grid_hw = self.output_grid(features, guide)
        unit = F.normalize(self.embed(backbone, features, guide).float(), dim=-1)
        keys = resize_tokens(projected_keys(backbone, features), features.grid_hw, grid_hw) if with_keys else None
        return DenseEmbeddings(
            patches=unit.transpose(1, 2).unflatten(2, grid_hw),
            pooled=unit_pooled(features) if with_pooled else None,
            keys=keys,
            foreground=self.foreground(features),
        )


def unit_pooled(features: DenseFeatures) -> Tensor:
    """The tower's own image embedding, unit rows ``(B, E)`` float32."""
    return F.normalize(features[POOLED].float(), dim=-1)


def resize_tokens(tokens: Tensor, grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> Tensor:
    """Patch tokens ``(B, n, d)`` brought to another grid; bilinear in float32 (align_corners False)."""
    if grid_hw == size_hw:
        return tokens
    maps = tokens.transpose(1, 2).unflatten(2, grid_hw).float()
    resized = F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)
    return resized.flatten(2).transpose(1, 2).to(tokens.dtype)


def projected_keys(backbone: DenseBackbone, features: DenseFeatures) -> Tensor:
    """Keys of the last block's patches, pushed through its output projection, ``(B, n, D)``.

    MaskCLIP's key smoothing compares these. An attention pool projects into the joint space instead of
    back to its tokens, so its keys are taken as they are.
    """
    block = backbone.block(-1)
    keys = features.patches(Tap(-1, "k"))
    return block.project_out(keys) if block.has_residual else keys


def block_taps(layer: int, affinity: Affinity) -> list[Tap]:
    """Taps of one block that an affinity over its values reads."""
    return [Tap(layer, point) for point in ("v", *affinity.needs)]


def attend_block(
    block: AttentionBlock, layer: int, affinity: Affinity, features: DenseFeatures, guide: GuideFeatures | None = None
) -> Tensor:
    """One block's attention branch with another affinity: ``W_o (A v) + b_o`` on patch rows.

    Where one matrix serves all heads, the output projection is applied to the values first: rows sum to 1, so
    ``W_o (A v) + b_o = A (W_o v + b_o)``, one product instead of one per head, at the smaller of the two grids.

    Args:
        block: the block's parameters.
        layer: its index, as in ``features``.
        affinity: what replaces the block's own attention.
        features: taps that hold ``v`` and what the affinity needs.
        guide: what a second tower says.

    Returns:
        ``(B, n, D)`` on the affinity's output grid.
    """
    points: Iterable[str] = ("v", *affinity.needs)
    heads = {point: split_heads(features[Tap(layer, point)], block.num_heads) for point in points}
    inputs = AttentionInputs(heads, features.grid_hw, features.num_prefix, guide)
    if affinity.head_shared and block.affine_output:
        return affinity.aggregate(inputs, block.project_out(features[Tap(layer, "v")])[:, None])[:, 0]
    return block.project_out(merge_heads(affinity.aggregate(inputs, heads["v"])))
