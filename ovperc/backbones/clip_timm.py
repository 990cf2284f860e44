"""timm's VisionTransformer and Eva trunks (SigLIP, MobileCLIP-B, EVA-CLIP, PE-Core, plain ViTs) as dense towers."""

from __future__ import annotations

import copy

import torch
from open_clip.timm_model import TimmModel
from timm.layers import AttentionPoolLatent, AttentionRope, apply_rot_embed_cat
from timm.layers.attention import Attention
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.backbones.pos_embed import add_pos_embed, check_mode
from ovperc.backbones.token_tower import BlockView, TokenTower

_ROW = {"q": 0, "k": 1, "v": 2}


class TimmBlock(BlockView):
    """View of a timm ``Block``: pre-norm, fused qkv, optional query/key norms and layer scale."""

    def __init__(self, block: nn.Module, rotary: Tensor | None = None) -> None:
        self._block = block
        self._rotary = rotary
        self.num_heads = block.attn.num_heads
        self.affine_output = isinstance(block.attn.norm, nn.Identity)

    def ln_1(self, tokens: Tensor) -> Tensor:
        return self._block.norm1(tokens)

    def projection(self, normed: Tensor, point: str) -> Tensor:
        attention = self._block.attn
        projected = _linear_part(attention, normed, point)
        if point == "v":
            return projected
        heads = projected.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        heads = getattr(attention, f"{point}_norm")(heads)
        if self._rotary is not None:
            skip, half = attention.num_prefix_tokens, getattr(attention, "rotate_half", False)
            turned = apply_rot_embed_cat(heads[:, :, skip:], self._rotary, half=half)
            heads = torch.cat([heads[:, :, :skip], turned], dim=2)
        return heads.transpose(1, 2).flatten(2).to(projected.dtype)

    def attend(self, tokens: Tensor) -> Tensor:
        return tokens + self._scale_1(self._block.attn(self._block.norm1(tokens), **self._positions()))

    def ln_2(self, tokens: Tensor) -> Tensor:
        return self._block.norm2(tokens)

    def project_out(self, tokens: Tensor) -> Tensor:
        attention = self._block.attn
        return self._scale_1(attention.proj(attention.norm(tokens)))

    def feed_forward(self, tokens: Tensor) -> Tensor:
        return self._scale_2(self._block.mlp(self._block.norm2(tokens)))

    def run(self, tokens: Tensor) -> Tensor:
        return self._block(tokens, **self._positions())

    def _positions(self) -> dict[str, Tensor]:
        return {} if self._rotary is None else {"rope": self._rotary}

    def _scale_1(self, branch: Tensor) -> Tensor:
        return self._block.ls1(branch)

    def _scale_2(self, branch: Tensor) -> Tensor:
        return self._block.ls2(branch)


class EvaBlockView(TimmBlock):
    """View of an ``EvaBlock``: layer scale as bare parameters, rotary positions."""

    def _scale_1(self, branch: Tensor) -> Tensor:
        return branch if self._block.gamma_1 is None else self._block.gamma_1 * branch

    def _scale_2(self, branch: Tensor) -> Tensor:
        return branch if self._block.gamma_2 is None else self._block.gamma_2 * branch


class EvaPostNormBlockView(TimmBlock):
    """View of an ``EvaBlockPostNorm``: norms close the branches, so attention and MLP read the bare stream."""

    def __init__(self, block: nn.Module, rotary: Tensor | None = None) -> None:
        super().__init__(block, rotary)
        self.affine_output = False

    def ln_1(self, tokens: Tensor) -> Tensor:
        return tokens

    def attend(self, tokens: Tensor) -> Tensor:
        return tokens + self._block.norm1(self._block.attn(tokens, **self._positions()))

    def ln_2(self, tokens: Tensor) -> Tensor:
        return tokens

    def project_out(self, tokens: Tensor) -> Tensor:
        attention = self._block.attn
        return self._block.norm1(attention.proj(attention.norm(tokens)))

    def feed_forward(self, tokens: Tensor) -> Tensor:
        return self._block.norm2(self._block.mlp(tokens))


_VIEWS: dict[type[nn.Module], type[TimmBlock]] = {
    Block: TimmBlock,
    EvaBlock: EvaBlockView,
    EvaBlockPostNorm: EvaPostNormBlockView,
}


class TimmTransformer(TokenTower):
    """A timm ViT or Eva trunk, inside open_clip's adapter or on its own, at any image size.

    Any patch embedding (plain, convolutional stem), prefix tokens, placement of norms and pool is read from the
    trunk. ``project`` gives each token the head it would get if it were pooled alone: with SigLIP's attention pool
    that is the pool's value path and its MLP.

    Args:
        tower: open_clip's ``TimmModel``, or a bare ``VisionTransformer`` or ``Eva``.
        pos_embed: how the position table is resized, see :func:`resize_pos_embed`. Rotary positions follow timm.
    """

    def __init__(self, tower: nn.Module, pos_embed: str = "size") -> None:
        super().__init__()
        check_mode(pos_embed)
        self.tower = tower
        self.pos_embed = pos_embed
        trunk = self.trunk
        _check_supported(trunk)
        ratio = trunk.patch_embed.feat_ratio(as_scalar=False)
        if ratio[0] != ratio[1]:
            raise ValueError(f"patches must be square; this tower has {ratio} px")
        self.stride_px = int(ratio[0])
        self.depth = len(trunk.blocks)
        self.width = int(trunk.embed_dim)
        self.num_prefix = int(trunk.num_prefix_tokens)
        with torch.no_grad():
            probe = torch.zeros(1, 1, self.width, dtype=self.dtype, device=self.device)
            self.embed_dim = self.project(probe).shape[-1]

    @property
    def trunk(self) -> VisionTransformer | Eva:
        """timm's model."""
        return self.tower.trunk if isinstance(self.tower, TimmModel) else self.tower

    @property
    def pools_class_row(self) -> bool:
        return self.trunk.attn_pool is None and self.trunk.global_pool == "token"

    @property
    def blocks_read_positions(self) -> bool:
        return getattr(self.trunk, "rope", None) is not None

    def view(self, layer: int, positions: Tensor | None = None) -> TimmBlock:
        block = self.trunk.blocks[layer]
        if positions is not None and getattr(self.trunk, "rope_mixed", False):
            positions = positions[layer]
        return _VIEWS[type(block)](block, positions)

    def close(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        return self.trunk.fc_norm(self.trunk.norm(tokens))

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int], Tensor | None]:
        trunk = self.trunk
        images, grid_hw = self._whole_patches(images)
        tokens = _patch_tokens(trunk.patch_embed, images)
        special, batch = (trunk.cls_token, trunk.reg_token), tokens.shape[0]
        prefix = [part.expand(batch, -1, -1) for part in special if part is not None]
        if trunk.pos_embed is None:
            tokens = torch.cat([*prefix, tokens], dim=1)
        else:
            table, native_hw = trunk.pos_embed[0], tuple(trunk.patch_embed.grid_size)
            if trunk.no_embed_class:
                tokens = add_pos_embed(tokens, table, 0, grid_hw, self.pos_embed, native_hw)
                tokens = torch.cat([*prefix, tokens], dim=1)
            else:
                tokens = torch.cat([*prefix, tokens], dim=1)
                tokens = add_pos_embed(tokens, table, self.num_prefix, grid_hw, self.pos_embed, native_hw)
        return trunk.norm_pre(tokens), grid_hw, self._rotary(grid_hw)

    def project(self, tokens: Tensor) -> Tensor:
        trunk = self.trunk
        tokens = trunk.norm(tokens)
        if trunk.attn_pool is not None:
            tokens = _pool_alone(trunk.attn_pool, tokens)
        return self._head(trunk.head(trunk.head_drop(trunk.fc_norm(tokens))))

    def pool(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        return self._head(self.trunk.forward_head(self.trunk.norm(tokens)))

    def _head(self, tokens: Tensor) -> Tensor:
        return self.tower.head(tokens) if isinstance(self.tower, TimmModel) else tokens

    def _rotary(self, grid_hw: tuple[int, int]) -> Tensor | None:
        """Rotary table of the grid. timm caches one for the native grid; another grid's is made on a copy."""
        rope = getattr(self.trunk, "rope", None)
        if rope is None:
            return None
        if getattr(rope, "feat_shape", None) is None or tuple(rope.feat_shape) == grid_hw:
            return rope.get_embed(shape=list(grid_hw))
        rope = copy.deepcopy(rope)
        rope.update_feat_shape(list(grid_hw))
        return rope.get_embed()


def _check_supported(trunk: nn.Module) -> None:
    """Raises ValueError naming the part of the trunk that has no dense form here."""
    if not isinstance(trunk, VisionTransformer | Eva):
        raise ValueError(f"a timm tower must be a VisionTransformer or Eva; got {type(trunk).__name__}")
    for block in trunk.blocks:
        attention = getattr(block, "attn", None)
        if type(block) not in _VIEWS or not isinstance(attention, Attention | EvaAttention | AttentionRope):
            raise ValueError(f"timm block {type(block).__name__} ({type(attention).__name__}) is not supported")
        if getattr(attention, "gate", None) is not None:
            raise ValueError("gated attention is not supported: its output depends on more than the values")
        if getattr(attention, "num_kv_groups", 1) != 1:
            raise ValueError("grouped-query attention is not supported")
    pool = trunk.attn_pool
    if pool is not None and (not isinstance(pool, AttentionPoolLatent) or pool.pos_embed is not None):
        raise ValueError(f"attention pool {type(pool).__name__} of this timm trunk has no form for single tokens")


def _patch_tokens(embedding: nn.Module, images: Tensor) -> Tensor:
    """A ``PatchEmbed`` or ``HybridEmbed`` without its check of the image size; ``(B, n, D)``."""
    features = embedding.backbone(images) if hasattr(embedding, "backbone") else images
    if isinstance(features, list | tuple):
        features = features[-1]
    tokens = embedding.proj(features).flatten(2).transpose(1, 2)
    return embedding.norm(tokens) if hasattr(embedding, "norm") else tokens


def _linear_part(attention: nn.Module, normed: Tensor, point: str) -> Tensor:
    """One of the three input projections, fused or separate, with its own bias."""
    if attention.qkv is None:
        return getattr(attention, f"{point}_proj")(normed)
    size = attention.qkv.out_features // 3
    rows = slice(_ROW[point] * size, (_ROW[point] + 1) * size)
    bias = attention.qkv.bias
    bias = getattr(attention, f"{point}_bias", None) if bias is None else bias[rows]
    return F.linear(normed, attention.qkv.weight[rows], bias)


def _pool_alone(pool: AttentionPoolLatent, tokens: Tensor) -> Tensor:
    """What a latent attention pool answers for a sequence of one token, for each token: its value, then the MLP."""
    size = pool.kv.out_features // 2
    value = F.linear(tokens, pool.kv.weight[size:], None if pool.kv.bias is None else pool.kv.bias[size:])
    tokens = pool.proj(value)
    return tokens if pool.mlp is None else tokens + pool.mlp(pool.norm(tokens))
