"""open_clip's ModifiedResNet: its attention pool as the one block that taps can name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from torch import Tensor
from torch.nn import functional as F

from ovperc.backbones.base import DenseBackbone, resolve_taps
from ovperc.backbones.pos_embed import add_pos_embed, check_mode
from ovperc.core.structures import DenseFeatures, Tap


class AttentionPoolBlock:
    """View of an ``AttentionPool2d``: an attention without skip connection or feed-forward part."""

    has_residual = False
    affine_output = True

    def __init__(self, pool: AttentionPool2d) -> None:
        self._pool = pool
        self.num_heads = pool.num_heads

    def project_out(self, tokens: Tensor) -> Tensor:
        """``W_c t + b_c``, which lands in the joint space: ``(B, n, C) -> (B, n, E)``."""
        return self._pool.c_proj(tokens)

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """Raises ValueError: an attention pool has no feed-forward part."""
        raise ValueError("an attention pool has no feed-forward part; read it out with residual and ffn off")


class ClipResNet(DenseBackbone):
    """OpenAI's RN50, RN101, RN50x4, ... with the pool's projections at every position.

    Dense features carry neither positional embedding nor the mean token (MaskCLIP, Zhou et al., ECCV 2022, as
    released): ``v = v_proj(f)``, ``project_out = c_proj``. Tap ``out`` is the pool's own multi-head attention
    among the positions, already in the joint space.

    Args:
        tower: open_clip's vision tower.
        pos_embed: how the pool's position table is resized for the pooled embedding.
    """

    depth = 1
    num_prefix = 0
    stride_px = 32

    def __init__(self, tower: ModifiedResNet, pos_embed: str = "size") -> None:
        super().__init__()
        check_mode(pos_embed)
        self.tower = tower
        self.pos_embed = pos_embed
        self.width = tower.attnpool.c_proj.in_features
        self.embed_dim = tower.attnpool.c_proj.out_features

    def block(self, layer: int) -> AttentionPoolBlock:
        self._resolve_layer(layer)
        return AttentionPoolBlock(self.tower.attnpool)

    def forward_dense(self, images: Tensor, taps: Sequence[Tap | str]) -> DenseFeatures:
        """See :meth:`DenseBackbone.forward_dense`; the only layer is the attention pool."""
        wanted = resolve_taps(taps, self.depth)
        points = {tap.point for tap in wanted}
        missing = sorted(points - {"in", "ln_1", "q", "k", "v", "out", "pooled"})
        if missing:
            raise ValueError(
                f"a ResNet tower has no tap {missing[0]}; its attention pool offers in, ln_1, q, k, v, out and pooled. "
                "Use the weights of a transformer tower"
            )
        features, grid_hw = self._positions(images)
        pool = self.tower.attnpool
        found = dict.fromkeys(points & {"in", "ln_1"}, features)
        projections = {"q": pool.q_proj, "k": pool.k_proj, "v": pool.v_proj}
        for point in "qkv":
            if point in points or "out" in points:
                found[point] = projections[point](features)
        if "out" in points:
            found["out"] = pool.c_proj(self._attend(found["q"], found["k"], found["v"]))
        if "pooled" in points:
            found["pooled"] = self._pool(features, grid_hw)
        return DenseFeatures({Tap(0, point): found[point] for point in points}, grid_hw, 0, self.depth)

    def project(self, tokens: Tensor) -> Tensor:
        """The tokens themselves: the pool's output projection already lands in the joint space."""
        if tokens.shape[-1] != self.embed_dim:
            raise ValueError(
                f"tokens of a ResNet tower are projected by block(-1).project_out (width {self.width} to "
                f"{self.embed_dim}); got width {tokens.shape[-1]}"
            )
        return tokens

    def _pool(self, features: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """The pool's answer to the mean token, positional embedding included; ``(B, E)``."""
        pool = self.tower.attnpool
        tokens = torch.cat([features.mean(dim=1, keepdim=True), features], dim=1)
        side = round((len(pool.positional_embedding) - 1) ** 0.5)
        tokens = add_pos_embed(tokens, pool.positional_embedding, 1, grid_hw, self.pos_embed, (side, side))
        query, key, value = pool.q_proj(tokens[:, :1]), pool.k_proj(tokens), pool.v_proj(tokens)
        return pool.c_proj(self._attend(query, key, value))[:, 0]

    def _positions(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Output of the last stage as tokens ``(B, n, C)``."""
        images, grid_hw = self._whole_patches(images)
        tower = self.tower
        features = tower.stem(images)
        for stage in (tower.layer1, tower.layer2, tower.layer3, tower.layer4):
            features = stage(features)
        return features.flatten(2).transpose(1, 2), grid_hw

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads = self.tower.attnpool.num_heads
        split = [tokens.unflatten(-1, (heads, -1)).transpose(1, 2) for tokens in (query, key, value)]
        return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
