"""The dense methods as one would write them from the papers: explicit matrices, every token, no sharing.

Independent of ovperc: reads the parameters of an open_clip ``VisionTransformer`` and loops over its blocks.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def embed(visual: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Tokens ``(B, 1 + n, D)`` that enter the first block, positions resized bicubically to the grid."""
    patches = visual.conv1(images)
    grid = (patches.shape[2], patches.shape[3])
    tokens = patches.flatten(2).transpose(1, 2)
    table = visual.positional_embedding
    side = round(math.sqrt(table.shape[0] - 1))
    cells = table[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    cells = F.interpolate(cells, size=grid, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)[0]
    class_token = visual.class_embedding.expand(images.shape[0], 1, -1)
    tokens = torch.cat([class_token, tokens], dim=1) + torch.cat([table[:1], cells])
    return visual.ln_pre(tokens), grid


def heads_of(block: nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    """q, k, v of a block, each ``(B, a, 1 + n, d)``."""
    attention = block.attn
    points = (block.ln_1(tokens) @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=-1)
    batch, length, width = tokens.shape
    shape = (batch, length, attention.num_heads, width // attention.num_heads)
    return {name: point.reshape(shape).permute(0, 2, 1, 3) for name, point in zip("qkv", points, strict=True)}


def softmax_matrix(left: Tensor, right: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    """``softmax(left right^T / sqrt(d) + bias)``."""
    return torch.softmax(left @ right.transpose(-1, -2) / math.sqrt(left.shape[-1]) + bias, dim=-1)


def output(block: nn.Module, matrix: Tensor, values: Tensor) -> Tensor:
    """``W_o concat(A v) + b_o``."""
    mixed = (matrix @ values).permute(0, 2, 1, 3).flatten(2)
    return mixed @ block.attn.out_proj.weight.T + block.attn.out_proj.bias


def gaussian_bias(grid: tuple[int, int], sigma: float) -> Tensor:
    """Gaussian of the distance between all patches, with a zero row and column for the class token."""
    ys, xs = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    places = torch.stack([ys.flatten(), xs.flatten()], dim=1).double()
    squared = ((places[:, None] - places[None]) ** 2).sum(-1)
    bias = torch.zeros(1 + len(places), 1 + len(places))
    bias[1:, 1:] = torch.exp(-squared / (2 * sigma**2)).float()
    return bias


def matrix_of(kind: str, heads: dict[str, Tensor], grid: tuple[int, int]) -> Tensor:
    """The affinity of a method over all tokens."""
    query, key = heads["q"], heads["k"]
    if kind == "identity":
        return torch.eye(query.shape[2]).expand(query.shape[0], query.shape[1], -1, -1)
    if kind == "qq+kk":
        return softmax_matrix(query, query) + softmax_matrix(key, key)
    if kind == "kk+gaussian":
        return softmax_matrix(key, key, gaussian_bias(grid, 5.0))
    return softmax_matrix(heads[kind[0]], heads[kind[1]])


def finish(visual: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Final norm, projection, unit length, patches as a map ``(B, E, h, w)``."""
    embedded = visual.ln_post(tokens)[:, 1:] @ visual.proj
    embedded = embedded / embedded.norm(dim=-1, keepdim=True)
    return embedded.transpose(1, 2).unflatten(2, grid)


@torch.no_grad()
def last_block_method(visual: nn.Module, images: Tensor, kind: str, *, residual: bool, ffn: bool) -> Tensor:
    """All blocks but the last as trained, then the last with another affinity."""
    tokens, grid = embed(visual, images)
    for block in visual.transformer.resblocks[:-1]:
        tokens = block(tokens)
    block = visual.transformer.resblocks[-1]
    heads = heads_of(block, tokens)
    result = output(block, matrix_of(kind, heads, grid), heads["v"])
    if residual:
        result = tokens + result
    if ffn:
        result = result + block.mlp(block.ln_2(result))
    return finish(visual, result, grid)


@torch.no_grad()
def surgery(visual: nn.Module, images: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """CLIP Surgery with both streams written out.

    Returns:
        Dense map ``(B, E, h, w)`` and the unit class embedding ``(B, E)`` of the original stream.
    """
    original, grid = embed(visual, images)
    blocks = visual.transformer.resblocks
    new: Tensor | None = None
    for index, block in enumerate(blocks):
        if index < len(blocks) - layers:
            original = block(original)
            continue
        new = original.clone() if new is None else new
        heads = heads_of(block, original)
        new = new + output(block, softmax_matrix(heads["v"], heads["v"]), heads["v"])
        original = original + output(block, softmax_matrix(heads["q"], heads["k"]), heads["v"])
        original = original + block.mlp(block.ln_2(original))
    new = torch.cat([original[:, :1], new[:, 1:]], dim=1)
    pooled = visual.ln_post(original)[:, 0] @ visual.proj
    return finish(visual, new, grid), pooled / pooled.norm(dim=-1, keepdim=True)
