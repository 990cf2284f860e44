"""open_clip's own VisionTransformer as a dense tower."""

from __future__ import annotations

import torch
from open_clip.transformer import AttentionalPooler, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.backbones.pos_embed import add_pos_embed, check_mode
from ovperc.backbones.token_tower import BlockView, TokenTower

_ROW = {"q": 0, "k": 1, "v": 2}


class ClipBlock(BlockView):
    """View of a ``ResidualAttentionBlock``."""

    affine_output = True

    def __init__(self, block: ResidualAttentionBlock) -> None:
        self._block = block
        self.num_heads = block.attn.num_heads

    def ln_1(self, tokens: Tensor) -> Tensor:
        return self._block.ln_1(tokens)

    def projection(self, normed: Tensor, point: str) -> Tensor:
        attention = self._block.attn
        rows = slice(_ROW[point] * attention.embed_dim, (_ROW[point] + 1) * attention.embed_dim)
        return F.linear(normed, attention.in_proj_weight[rows], attention.in_proj_bias[rows])

    def attend(self, tokens: Tensor) -> Tensor:
        return tokens + self._block.ls_1(self._block.attention(self._block.ln_1(tokens)))

    def ln_2(self, tokens: Tensor) -> Tensor:
        return self._block.ln_2(tokens)

    def project_out(self, tokens: Tensor) -> Tensor:
        return self._block.ls_1(self._block.attn.out_proj(tokens))

    def feed_forward(self, tokens: Tensor) -> Tensor:
        return self._block.ls_2(self._block.mlp(self._block.ln_2(tokens)))

    def run(self, tokens: Tensor) -> Tensor:
        return self._block(tokens)


class ClipViT(TokenTower):
    """OpenAI's and OpenCLIP's ViT towers, at any image size.

    Tokens are embedded here (the stock forward refuses sizes other than its own); every block that is needed in
    full is the stock block. Patch dropout, a training device, is left out. Attention pools (CoCa) are supported:
    a token that pools only itself takes the pool's value path.

    Args:
        tower: open_clip's vision tower.
        pos_embed: how the position table is resized, see :func:`resize_pos_embed`.
    """

    num_prefix = 1

    def __init__(self, tower: VisionTransformer, pos_embed: str = "size") -> None:
        super().__init__()
        check_mode(pos_embed)
        other = next((b for b in tower.transformer.resblocks if not isinstance(b, ResidualAttentionBlock)), None)
        if other is not None:
            raise ValueError(
                f"this ViT is built of {type(other).__name__}; only open_clip's ResidualAttentionBlock is supported"
            )
        if tower.patch_size[0] != tower.patch_size[1]:
            raise ValueError(f"patches must be square; this tower has {tower.patch_size} px")
        self.tower = tower
        self.pos_embed = pos_embed
        self.stride_px = tower.patch_size[0]
        self.depth = len(tower.transformer.resblocks)
        self.width = tower.conv1.out_channels
        self.embed_dim = tower.proj.shape[1]

    @property
    def pools_class_row(self) -> bool:
        return self.tower.attn_pool is None and self.tower.pool_type == "tok"

    def view(self, layer: int, positions: None = None) -> ClipBlock:
        return ClipBlock(self.tower.transformer.resblocks[layer])

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int], None]:
        tower = self.tower
        images, grid_hw = self._whole_patches(images)
        patches = tower.conv1(images).flatten(2).transpose(1, 2)
        class_token = tower.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        tokens = torch.cat([class_token, patches], dim=1)
        table = tower.positional_embedding
        tokens = add_pos_embed(tokens, table, self.num_prefix, grid_hw, self.pos_embed, tower.grid_size)
        return tower.ln_pre(tokens), grid_hw, None

    def close(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        return self.tower.ln_post(tokens)

    def project(self, tokens: Tensor) -> Tensor:
        """``LN_post(t) P`` for each token; with an attention pool, the pool's value path instead of ``t``."""
        tower = self.tower
        if tower.attn_pool is None:
            return tower.ln_post(tokens) @ tower.proj
        if tower.attn_pool_contrastive is None:
            return tower.ln_post(_pool_alone(tower.attn_pool, tokens)) @ tower.proj
        tokens = tower.ln_post(tokens)
        if tower.attn_pool_type == "cascade":
            tokens = _pool_alone(tower.attn_pool, tokens)
        return _pool_alone(tower.attn_pool_contrastive, tokens) @ tower.proj

    def pool(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        pooled, _ = self.tower._pool(tokens)
        pooled = pooled @ self.tower.proj
        return pooled[:, 0] if pooled.ndim == 3 else pooled

    def pool_bare(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        return tokens[:, 0] @ self.tower.proj if self.pools_class_row else self.pool(tokens, grid_hw)


def _pool_alone(pool: AttentionalPooler, tokens: Tensor) -> Tensor:
    """What an attention pool answers for a sequence of one token, for each token: any query gets its value."""
    attention: nn.MultiheadAttention = pool.attn
    if attention.v_proj_weight is not None:
        weight = attention.v_proj_weight
    else:
        weight = attention.in_proj_weight[-attention.embed_dim :]
    value = F.linear(pool.ln_k(tokens), weight, attention.in_proj_bias[-attention.embed_dim :])
    return attention.out_proj(value)
