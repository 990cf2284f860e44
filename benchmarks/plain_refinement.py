"""Plain ProxyCLIP, CLIP-DINOiser and Trident, to be measured against: the steps of the papers' code, in its order.

Tiles go one by one where the released code takes them one by one, last blocks compute what their stock form
computes, every attention matrix is stored, and the softmax over all classes is made at every pixel. The parts (towers,
heads, tiles, numbers) are those of a built segmenter, so that both answer the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import add_decomposed_rel_pos, window_partition, window_unpartition
from torch import Tensor, nn

from ovperc.affinity.guide import GuideAffinity
from ovperc.affinity.sam_correlation import SamCorrelation
from ovperc.backbones.guide import renormalize
from ovperc.core.structures import TextBank
from ovperc.tasks.segmentation.segmenter import DenseSegmenter
from ovperc.tiling import Geometry, normalize, resize_image

_SCALE = 40.0
_DINOISER_SCALE = 100.0


@dataclass(frozen=True)
class PlainAnswer:
    """What a plain method makes.

    Attributes:
        scores: ``(Q, H, W)`` of prompts, before the last softmax.
        labels: ``(H, W)`` int64.
    """

    scores: Tensor
    labels: Tensor


@torch.inference_mode()
def plain_proxyclip(segmenter: DenseSegmenter, image: np.ndarray, bank: TextBank) -> PlainAnswer:
    """ProxyCLIP, tile by tile: DINO with stored attention, one matrix repeated for all heads, ``W_o`` last."""
    geometry, tiles = _cut(segmenter, image)
    maps = []
    for tile in tiles.split(1):
        unit, grid_hw = _dino(segmenter, tile)
        means = (unit @ unit.transpose(1, 2)).mean(dim=(1, 2))
        tokens, clip_hw = _before_last(segmenter, tile)
        mixed = _guide_attention(segmenter, tokens, clip_hw, unit, grid_hw, means)
        maps.append(_cosines(segmenter, mixed, bank).transpose(1, 2).unflatten(2, grid_hw))
    return _answer(_merged(geometry, torch.cat(maps)), _SCALE, bank)


@torch.inference_mode()
def plain_dinoiser(segmenter: DenseSegmenter, image: np.ndarray, bank: TextBank) -> PlainAnswer:
    """CLIP-DINOiser, tile by tile: CLIP in full with its pooled output, text before and after the averaging."""
    geometry, tiles = _cut(segmenter, image)
    readout, tower = segmenter.readout, segmenter.clip.backbone.tower
    maps = []
    for tile in tiles.split(1):
        tokens, grid_hw, _ = segmenter.clip.backbone.embed(tile)
        blocks = tower.transformer.resblocks
        for block in blocks[:-1]:
            if block is blocks[readout.layer]:
                attended = tokens + block.ls_1(block.attention(block.ln_1(tokens)))
                seen = block.ln_2(attended)[:, 1:]
                tokens = attended + block.ls_2(block.mlp(block.ln_2(attended)))
            else:
                tokens = block(tokens)
        last = blocks[-1]
        pooled = tower.ln_post(last(tokens))[:, 0] @ tower.proj
        parts = _in_projection(last.attn, last.ln_1(tokens)).chunk(3, dim=-1)
        value = [last.attn.out_proj(part) for part in parts][2]
        stream = tokens + value
        stream = stream + last.mlp(last.ln_2(stream))
        values = (tower.ln_post(stream) @ tower.proj)[:, 1:]
        torch.softmax(_DINOISER_SCALE * F.normalize(values, dim=-1) @ bank.embeddings.T, dim=-1)
        F.normalize(pooled, dim=-1)
        compared = F.normalize(readout.heads.obj_proj(_maps(seen, grid_hw)).flatten(2), dim=1)
        weights = compared.transpose(1, 2) @ compared
        weights[weights < readout.gamma] = 0.0
        values = (weights @ values) / (weights.sum(dim=-1, keepdim=True) + 1e-6)
        chance = torch.softmax(_DINOISER_SCALE * F.normalize(values, dim=-1) @ bank.embeddings.T, dim=-1)
        if bank.background.words:
            best = chance.amax(dim=-1)
            objects = readout.heads.bkg_decoder(F.normalize(_maps(seen, grid_hw), dim=1)).flatten(1).sigmoid()
            background = (best < segmenter.logit_rule.delta) & (objects <= 0.5)
            chance[..., 0] = torch.where(background, 1.0, chance[..., 0])
        maps.append(_maps(chance, grid_hw))
    return _answer(_merged(geometry, torch.cat(maps)), 1.0, bank)


@torch.inference_mode()
def plain_trident(segmenter: DenseSegmenter, image: np.ndarray, bank: TextBank) -> PlainAnswer:
    """Trident without prompts: tiles in one batch, spliced, averaged by SAM's stored attention of all heads."""
    geometry, tiles = _cut(segmenter, image)
    backbone = segmenter.clip.backbone
    unit, grid_hw = _dino(segmenter, tiles)
    means = (unit @ unit.transpose(1, 2)).mean().expand(len(unit))
    tokens, clip_hw = _before_last(segmenter, tiles)
    mixed = _guide_attention(segmenter, tokens, clip_hw, unit, grid_hw, means)
    canvas = _spliced(mixed, grid_hw, geometry, backbone.stride_px)
    matrix, size = _sam_matrix(segmenter.aggregator, image)
    features = F.interpolate(canvas[None], size, mode="bilinear")[0].flatten(1)
    heads = backbone.tower.transformer.resblocks[-1].attn.num_heads
    split = features.unflatten(0, (heads, -1)).transpose(1, 2)
    averaged = (matrix.repeat(heads, 1, 1) @ split).transpose(1, 2).flatten(0, 1)
    cosines = _cosines(segmenter, averaged.T[None], bank)
    scores = F.interpolate(_maps(cosines, size), geometry.original_hw, mode="bilinear")[0]
    chance = torch.softmax(scores * _SCALE, dim=0)
    of_zero = len(scores) - bank.num_classes + 1  # only the background has several prompts
    chance = torch.cat([chance[:of_zero].amax(dim=0, keepdim=True), chance[of_zero:]])
    return PlainAnswer(scores, chance.argmax(dim=0))


def _cut(segmenter: DenseSegmenter, image: np.ndarray) -> tuple[Geometry, Tensor]:
    """Tiles ``(T, 3, h, w)`` as the segmenter cuts them."""
    clip = segmenter.clip
    geometry = segmenter.tiler.plan(image.shape[:2], clip.backbone.stride_px)
    if any(geometry.pad_tblr):
        raise ValueError("the plain methods take tiles without padding; choose an image that needs none")
    pixels = normalize(resize_image(image, geometry.resized_hw), clip.preprocess.mean, clip.preprocess.std)
    pixels = pixels.to(device=clip.backbone.device, dtype=clip.backbone.dtype)
    return geometry, segmenter.tiler.tiles(pixels, geometry)


def _dino(segmenter: DenseSegmenter, tiles: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Unit patches of DINO's closing norm, ``(T, n, C)``; attention matrices are formed in every block."""
    guide = segmenter.guide
    images = renormalize(tiles, segmenter.clip.preprocess, guide.preprocess)
    tokens, grid_hw, _ = guide.backbone.embed(images)
    for block in guide.backbone.tower.blocks:
        attention, normed = block.attn, block.norm1(tokens)
        qkv = attention.qkv(normed).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        matrix = torch.softmax((qkv[0] @ qkv[1].transpose(-2, -1)) * attention.scale, dim=-1)
        tokens = tokens + block.ls1(attention.proj((matrix @ qkv[2]).transpose(1, 2).flatten(2)))
        tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
    patches = guide.backbone.tower.norm(tokens)[:, guide.backbone.num_prefix :]
    return F.normalize(patches, dim=-1), grid_hw


def _before_last(segmenter: DenseSegmenter, tiles: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Input of CLIP's last block."""
    tokens, grid_hw, _ = segmenter.clip.backbone.embed(tiles)
    for block in segmenter.clip.backbone.tower.transformer.resblocks[:-1]:
        tokens = block(tokens)
    return tokens, grid_hw


def _in_projection(attention: nn.MultiheadAttention, normed: Tensor) -> Tensor:
    """Queries, keys and values, ``(B, N, 3 D)``."""
    return F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)


def _guide_attention(
    segmenter: DenseSegmenter,
    tokens: Tensor,
    clip_hw: tuple[int, int],
    unit: Tensor,
    grid_hw: tuple[int, int],
    means: Tensor,
) -> Tensor:
    """The last block's output, ``(T, m, D)`` on DINO's grid."""
    block = segmenter.clip.backbone.tower.transformer.resblocks[-1]
    affinity: GuideAffinity = segmenter.readout.affinity
    heads = block.attn.num_heads
    value = _in_projection(block.attn, block.ln_1(tokens[:, 1:])).chunk(3, dim=-1)[2]
    value = F.interpolate(_maps(value, clip_hw), grid_hw, mode="bilinear").flatten(2)
    value = value.unflatten(1, (heads, -1)).transpose(2, 3)
    similarity = (unit @ unit.transpose(1, 2) - affinity.beta * means[:, None, None]) * affinity.gamma
    diagonal = torch.eye(similarity.shape[1], dtype=torch.bool, device=similarity.device)
    mask = torch.where((similarity < 0) & ~diagonal, -torch.inf, 0.0)
    repeated = similarity[:, None].repeat(1, heads, 1, 1) + mask[:, None].repeat(1, heads, 1, 1)
    mixed = torch.softmax(repeated, dim=-1) @ value
    return block.attn.out_proj(mixed.transpose(1, 2).flatten(2))


def _cosines(segmenter: DenseSegmenter, tokens: Tensor, bank: TextBank) -> Tensor:
    """``(B, n, Q)``."""
    tower = segmenter.clip.backbone.tower
    unit = F.normalize(tower.ln_post(tokens) @ tower.proj, dim=-1)
    return unit.float() @ bank.embeddings.T


def _maps(tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """``(B, n, d) -> (B, d, h, w)``."""
    return tokens.transpose(1, 2).unflatten(2, grid_hw)


def _places(geometry: Geometry) -> list[tuple[int, int]]:
    return [(y, x) for y in geometry.starts_y for x in geometry.starts_x]


def _merged(geometry: Geometry, maps: Tensor) -> Tensor:
    """Scores of tiles ``(T, Q, h, w)`` at pixels, added, divided by their number, at the original size."""
    height, width = geometry.crop_hw
    canvas = torch.zeros(maps.shape[1], *geometry.resized_hw, device=maps.device)
    count = torch.zeros(geometry.resized_hw, device=maps.device)
    for (y, x), tile in zip(_places(geometry), maps, strict=True):
        full = F.interpolate(tile[None].float(), geometry.crop_hw, mode="bilinear")[0]
        canvas += F.pad(full, (x, canvas.shape[2] - x - width, y, canvas.shape[1] - y - height))
        count[y : y + height, x : x + width] += 1
    return F.interpolate((canvas / count)[None], geometry.original_hw, mode="bilinear")[0]


def _spliced(mixed: Tensor, grid_hw: tuple[int, int], geometry: Geometry, patch_px: int) -> Tensor:
    """One canvas of features, ``(D, H, W)``."""
    if grid_hw != tuple(side // patch_px for side in geometry.crop_hw):
        raise ValueError(f"the plain splice takes grids of the tower's own size; got {grid_hw}")
    size = [side // patch_px for side in geometry.resized_hw]
    canvas = torch.zeros(mixed.shape[-1], *size, device=mixed.device)
    count = torch.zeros(size, device=mixed.device)
    for (y, x), tile in zip(_places(geometry), _maps(mixed, grid_hw), strict=True):
        rows, columns = (slice(at // patch_px, at // patch_px + n) for at, n in zip((y, x), grid_hw, strict=True))
        canvas[:, rows, columns] += tile.float()
        count[rows, columns] += 1
    return canvas / count


def _sam_matrix(correlation: SamCorrelation, image: np.ndarray) -> tuple[Tensor, Sequence[int]]:
    """``M`` from the stored attention and cosines of all heads, and its grid."""
    backbone = correlation.backbone
    tower, (pixels, input_hw) = backbone.tower, correlation.prompter.pixels(image)
    x = tower.patch_embed(pixels.to(backbone.dtype)) + tower.pos_embed
    for block in tower.blocks:
        normed = block.norm1(x)
        if block.window_size > 0:
            normed, padded_hw = window_partition(normed, block.window_size)
        attended, attention, value = _sam_attention(block.attn, normed)
        if block.window_size > 0:
            attended = window_unpartition(attended, block.window_size, padded_hw, x.shape[1:3])
        x = x + attended
        x = x + block.mlp(block.norm2(x))
    tower.neck(x.permute(0, 3, 1, 2))
    height, width = (side // backbone.stride_px for side in input_hw)
    grid = torch.zeros(x.shape[1:3], dtype=torch.bool, device=x.device)
    grid[:height, :width] = True
    keep = grid.flatten().nonzero()[:, 0]
    attention = attention[:, keep][:, :, keep].float()
    unit = F.normalize(value[:, keep].float(), dim=-1)
    cosine = unit @ unit.transpose(1, 2)
    threshold = (cosine.mean(dim=-1) * correlation.cos_factor).mean(dim=0)
    if not correlation.keep_negative:
        threshold = torch.where(threshold < 0, 0.6, threshold)
    threshold = threshold.clamp(max=0.9)
    related = (attention * (cosine > threshold[None, :, None])).mean(dim=0)
    return related / related.sum(dim=-1, keepdim=True), (height, width)


def _sam_attention(attention: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """segment-anything's attention with its matrix ``(B * a, n, n)`` and values ``(B * a, n, d)``."""
    batch, height, width, _ = x.shape
    qkv = attention.qkv(x).reshape(batch, height * width, 3, attention.num_heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2)
    matrix = (query * attention.scale) @ key.transpose(-2, -1)
    if attention.use_rel_pos:
        sizes = ((height, width), (height, width))
        matrix = add_decomposed_rel_pos(matrix, query, attention.rel_pos_h, attention.rel_pos_w, *sizes)
    matrix = matrix.softmax(dim=-1)
    mixed = (matrix @ value).unflatten(0, (batch, -1)).transpose(1, 2).reshape(batch, height, width, -1)
    return attention.proj(mixed), matrix, value


def _answer(scores: Tensor, scale: float, bank: TextBank) -> PlainAnswer:
    """Softmax over all prompts at every pixel; classes of several prompts take the best, over ``(C, Q, H, W)``."""
    chance = torch.softmax(scores * scale, dim=0)
    if bank.num_classes < len(scores):
        one_hot = F.one_hot(bank.owners, bank.num_classes).T[..., None, None]
        chance = (chance[None] * one_hot).amax(dim=1)
    return PlainAnswer(scores, chance.argmax(dim=0))
