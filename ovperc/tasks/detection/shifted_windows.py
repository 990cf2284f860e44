"""DITO's shifted-window features (Kim et al., 2023): a windowed tower seen twice, with its windows between."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.clip_vit import ClipViT
from ovperc.backbones.pos_embed import add_pos_embed


@dataclass(frozen=True)
class WindowPlan:
    """Where a tower attends within windows.

    Attributes:
        splits: windows on each axis (4 in the released code: 16 x 16 tokens of 64 x 64).
        global_blocks: blocks that attend over the whole image, counted from 0.
        shift: tokens by which the second look is rolled; half a window in the released code.
    """

    splits: int = 4
    global_blocks: frozenset[int] = frozenset()
    shift: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "global_blocks", frozenset(self.global_blocks))
        if self.splits < 1 or self.shift < 0:
            raise ValueError(f"splits must be at least 1, shift not negative; got {self.splits} and {self.shift}")


def shifted_window_tokens(backbone: ClipViT, images: Tensor, plan: WindowPlan) -> Tensor:
    """``(out_0 + out_s) / 2`` of the normalised patch tokens, ``(B, h, w, D)``.

    The patch map is rolled by ``(-s, +s)``, positions are added (the table is not rolled), the blocks run in windows,
    and the result is rolled back. Both looks are one batch. The class token of CLIP, which DITO's towers lack, goes
    through every window by itself and is averaged over them after each block.

    Args:
        backbone: open_clip's ViT.
        images: ``(B, 3, H, W)`` normalised, a whole number of patches on each side that ``splits`` divides.
        plan: windows and shift.

    Raises:
        ValueError: a grid that the windows do not divide.
    """
    tower = backbone.tower
    patches = tower.conv1(images.to(backbone.dtype)).permute(0, 2, 3, 1)
    height, width = patches.shape[1:3]
    if height % plan.splits or width % plan.splits:
        raise ValueError(
            f"{plan.splits} windows on each axis do not divide a grid of {height} x {width} patches; resize the image"
        )
    rolled = torch.roll(patches, (-plan.shift, plan.shift), (1, 2))
    looks = torch.cat([patches, rolled]).flatten(1, 2)
    class_token = tower.class_embedding.to(looks.dtype).expand(len(looks), 1, -1)
    table, grid_hw = tower.positional_embedding, (height, width)
    tokens = add_pos_embed(
        torch.cat([class_token, looks], dim=1), table, 1, grid_hw, backbone.pos_embed, tower.grid_size
    )
    tokens = tower.ln_pre(tokens)
    for layer, block in enumerate(tower.transformer.resblocks):
        if layer in plan.global_blocks or plan.splits == 1:
            tokens = block(tokens)
        else:
            tokens = _join(block(_split(tokens, grid_hw, plan.splits)), grid_hw, plan.splits)
    grid = tower.ln_post(tokens[:, 1:]).unflatten(1, grid_hw)
    first, second = grid.chunk(2)
    return (first + torch.roll(second, (plan.shift, -plan.shift), (1, 2))) / 2


def shifted_window_map(backbone: DenseBackbone, images: Tensor, plan: WindowPlan) -> Tensor:
    """Unit patch embeddings in the joint space, ``(B, E, h, w)`` float32; images may have any size.

    The image is filled up with zeros, the mean colour, to whole windows, and the map is cut back.

    Raises:
        ValueError: a tower other than open_clip's ViT.
    """
    if not isinstance(backbone, ClipViT):
        raise ValueError(
            f"shifted windows are for open_clip's ViT; got {type(backbone).__name__}: use vlm.kind='dense'"
        )
    unit_px = backbone.stride_px * plan.splits
    height, width = images.shape[-2:]
    filled = F.pad(images, (0, -width % unit_px, 0, -height % unit_px))
    tokens = shifted_window_tokens(backbone, filled, plan)
    tokens = tokens[:, : height // backbone.stride_px, : width // backbone.stride_px]
    return F.normalize((tokens @ backbone.tower.proj).float(), dim=-1).permute(0, 3, 1, 2)


def every(depth: int, period: int) -> frozenset[int]:
    """Blocks ``period - 1, 2 * period - 1, ...``: every ``period``-th is global."""
    return frozenset(range(period - 1, depth, period))


def _split(tokens: Tensor, grid_hw: tuple[int, int], splits: int) -> Tensor:
    """``(B, 1 + h * w, D)`` to windows ``(B * splits^2, 1 + n, D)``, each with a copy of the class token."""
    (height, width), first = grid_hw, tokens[:, :1]
    grid = tokens[:, 1:].reshape(len(tokens), splits, height // splits, splits, width // splits, -1)
    windows = grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)
    return torch.cat([first.repeat_interleave(splits * splits, dim=0), windows], dim=1)


def _join(windows: Tensor, grid_hw: tuple[int, int], splits: int) -> Tensor:
    """The inverse of :func:`_split`; class tokens are averaged over windows."""
    (height, width), width_px = grid_hw, windows.shape[-1]
    first = windows[:, :1].unflatten(0, (-1, splits * splits)).mean(dim=1)
    grid = windows[:, 1:].reshape(-1, splits, splits, height // splits, width // splits, width_px)
    return torch.cat([first, grid.transpose(2, 3).reshape(len(first), height * width, width_px)], dim=1)
