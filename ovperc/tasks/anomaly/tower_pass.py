"""One pass of a stock tower that feeds every anomaly head: side stream, main stream, class row and windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.clip_vit import ClipViT
from ovperc.backbones.token_tower import BlockView, TokenTower
from ovperc.core.naming import suggest
from ovperc.core.structures import Tap
from ovperc.readout.base import merge_heads, split_heads
from ovperc.tasks.anomaly.views import encode_views
from ovperc.tasks.anomaly.windows import encode_windows

Pooled = Literal["none", "stock", "bare"]


@dataclass(frozen=True)
class TowerRequest:
    """What a head wants of a tower. Blocks are numbered from 0; negative numbers count from the end.

    Attributes:
        side_blocks: number of last blocks that take part in the side stream (19 of 24 in AnomalyCLIP; a tower with
            fewer takes all it has).
        side_taps: blocks after which the side stream is read.
        main_taps: blocks after which the main stream is read.
        pooled: ``stock`` the tower's image embedding; ``bare`` the class row's projection without the closing norm,
            as AnomalyCLIP's reference takes it (towers without a class row give their own embedding).
        windows: sides, in patches, of the windows that are encoded by themselves (WinCLIP).
        views: also the image embeddings of turned, shifted and grey copies of each image (AnoVL).
    """

    side_blocks: int = 0
    side_taps: tuple[int, ...] = ()
    main_taps: tuple[int, ...] = ()
    pooled: Pooled = "none"
    windows: tuple[int, ...] = ()
    views: bool = False

    def __post_init__(self) -> None:
        if self.pooled not in get_args(Pooled):
            raise ValueError(f"unknown pooled {self.pooled!r}; {suggest(str(self.pooled), get_args(Pooled))}")
        if self.side_taps and self.side_blocks < 1:
            raise ValueError(f"side_taps need side_blocks of at least 1; got {self.side_blocks}")
        if any(side < 1 for side in self.windows):
            raise ValueError(f"windows are sides of at least 1 patch; got {self.windows}")


@dataclass(frozen=True)
class TowerFeatures:
    """What :func:`tower_pass` found; patches are row-major on ``grid_hw``.

    Attributes:
        grid_hw: patch grid ``(h, w)``, ``n = h * w``.
        side: block (from 0) -> side stream after it, ``(B, n, D)``, before the closing norm and projection.
        main: block (from 0) -> main stream after it, ``(B, n, D)``.
        pooled: ``(B, E)``, not normalised; None where it was not asked for.
        windows: side in patches -> ``(B, (h - k + 1) * (w - k + 1), E)``, not normalised, row-major.
        views: ``(B, 22, E)``, not normalised, the image itself first; None where they were not asked for.
    """

    grid_hw: tuple[int, int]
    side: Mapping[int, Tensor] = field(default_factory=dict)
    main: Mapping[int, Tensor] = field(default_factory=dict)
    pooled: Tensor | None = None
    windows: Mapping[int, Tensor] = field(default_factory=dict)
    views: Tensor | None = None


def tower_pass(backbone: DenseBackbone, images: Tensor, request: TowerRequest) -> TowerFeatures:
    """Runs the tower once.

    The side stream gathers value-value attention (V-V) beside the tower:
    ``z^l = z^{l-1} + W_o softmax(v v^T / sqrt(d)) v + b_o`` with ``v`` of block ``l`` of the main stream and
    ``z = x`` before the first such block; there is no feed-forward part, and nothing flows back. Blocks of the side
    stream compute their projections once for both streams; the others are the stock blocks.

    Args:
        backbone: a transformer tower; other towers answer requests of ``main_taps`` only.
        images: ``(B, 3, H, W)`` normalised.
        request: what to return.

    Raises:
        ValueError: the tower has no such block, or no tokens for what is asked.
    """
    side_taps = tuple(_layer(backbone, tap) for tap in request.side_taps)
    main_taps = tuple(_layer(backbone, tap) for tap in request.main_taps)
    views = encode_views(backbone, images) if request.views else None
    if not isinstance(backbone, TokenTower):
        if side_taps or request.pooled == "bare" or request.windows:
            raise ValueError(f"a transformer tower is needed; got {type(backbone).__name__}: use other weights")
        return replace(_dense_pass(backbone, images, main_taps, request.pooled), views=views)
    tokens, grid_hw, positions = backbone.embed(images)
    windows = encode_windows(backbone, tokens, grid_hw, positions, request.windows) if request.windows else {}
    walk = _Walk(backbone, positions, request.pooled != "none", side_taps, main_taps, request.side_blocks)
    walk.run(tokens)
    pooled = None if request.pooled == "none" else _pool(backbone, walk.last, request.pooled)
    side = {layer: walk.side[layer] for layer in side_taps}
    main = {layer: walk.main[layer] for layer in main_taps}
    return TowerFeatures(grid_hw, side, main, pooled, windows, views)


class _Walk:
    """Walks a token tower block by block, the side stream at its side."""

    def __init__(
        self,
        backbone: TokenTower,
        positions: object,
        with_last: bool,
        side_taps: tuple[int, ...],
        main_taps: tuple[int, ...],
        side_blocks: int,
    ) -> None:
        self.backbone = backbone
        self.positions = positions
        self.with_last = with_last
        self.side_taps = side_taps
        self.main_taps = main_taps
        self.side_range = range(max(0, backbone.depth - side_blocks), max(side_taps, default=-1) + 1)
        self.side: dict[int, Tensor] = {}
        self.main: dict[int, Tensor] = {}
        self.last: Tensor | None = None
        too_early = [tap for tap in side_taps if tap < self.side_range.start]
        if too_early:
            raise ValueError(
                f"the side stream begins at block {self.side_range.start}; it cannot be read after block {too_early[0]}"
            )

    def run(self, tokens: Tensor) -> None:
        """Fills ``side``, ``main`` and ``last``."""
        prefix, depth = self.backbone.num_prefix, self.backbone.depth
        end = depth if self.with_last else max((*self.side_taps, *self.main_taps), default=-1) + 1
        stream: Tensor | None = None
        for layer in range(end):
            view = self.backbone.view(layer, self.positions)
            wanted = self.with_last or layer + 1 < end or layer in self.main_taps
            rows = self._rows_of_interest(layer)
            if layer in self.side_range:
                stream = tokens[:, prefix:].float() if stream is None else stream
                tokens, branch = dual_path_block(view, tokens, prefix, rows if wanted else 0)
                stream = stream + branch
                if layer in self.side_taps:
                    self.side[layer] = stream.to(branch.dtype)
            elif wanted:
                tokens = view.run(tokens)
            if layer in self.main_taps:
                self.main[layer] = tokens[:, prefix:]
        self.last = tokens

    def _rows_of_interest(self, layer: int) -> int | None:
        """How many leading rows of the main stream the block must give; None for all."""
        closing = layer == self.backbone.depth - 1 and layer not in self.main_taps
        pools_class_row = isinstance(self.backbone, ClipViT) and self.backbone.pools_class_row
        return 1 if closing and pools_class_row else None


def dual_path_block(view: BlockView, tokens: Tensor, num_prefix: int, rows: int | None = None) -> tuple[Tensor, Tensor]:
    """One block of the main stream and its V-V branch, with shared projections.

    Args:
        view: the block.
        tokens: ``(B, p + n, D)`` entering it.
        num_prefix: ``p``.
        rows: leading rows of the block's output that are wanted; 0 leaves the block out, None computes all.

    Returns:
        The block's output, ``(B, rows, D)`` (``tokens`` for 0 rows), and ``W_o softmax(v v^T / sqrt(d)) v + b_o`` of
        the patch rows, ``(B, n, D)``.
    """
    normed = view.ln_1(tokens)
    value = split_heads(view.projection(normed, "v"), view.num_heads)
    beside = F.scaled_dot_product_attention(value[:, :, num_prefix:], value, value)
    branch = view.project_out(merge_heads(beside))
    if rows == 0:
        return tokens, branch
    leading = slice(rows)
    query = split_heads(view.projection(normed[:, leading], "q"), view.num_heads)
    key = split_heads(view.projection(normed, "k"), view.num_heads)
    attended = F.scaled_dot_product_attention(query, key, value)
    tokens = tokens[:, leading] + view.project_out(merge_heads(attended))
    return tokens + view.feed_forward(tokens), branch


def _dense_pass(backbone: DenseBackbone, images: Tensor, main_taps: tuple[int, ...], pooled: Pooled) -> TowerFeatures:
    whole = backbone.encode_pooled(images) if pooled == "stock" else None
    found = backbone.forward_dense(images, [Tap(layer, "out") for layer in main_taps or (-1,)])
    main = {layer: found.patches(Tap(layer, "out")) for layer in main_taps}
    return TowerFeatures(found.grid_hw, main=main, pooled=whole)


def _pool(backbone: TokenTower, tokens: Tensor, pooled: Pooled) -> Tensor:
    if pooled == "bare" and isinstance(backbone, ClipViT) and backbone.pools_class_row:
        return tokens[:, 0] @ backbone.tower.proj
    if not hasattr(backbone, "pool"):
        raise ValueError(f"{type(backbone).__name__} has no image embedding; use a head that needs none")
    return backbone.pool(tokens)


def _layer(backbone: DenseBackbone, layer: int) -> int:
    return Tap(layer, "out").resolve(backbone.depth).layer


def split_features(features: TowerFeatures, counts: list[int]) -> list[TowerFeatures]:
    """Features of several images apart; ``counts`` windows each, in order."""

    def cut(table: Mapping[int, Tensor]) -> list[dict[int, Tensor]]:
        parts: list[dict[int, Tensor]] = [{} for _ in counts]
        for key, value in table.items():
            for part, piece in zip(parts, value.split(counts), strict=True):
                part[key] = piece
        return parts

    def cut_one(value: Tensor | None) -> list[Tensor | None]:
        return [None] * len(counts) if value is None else list(value.split(counts))

    rows = zip(
        cut(features.side),
        cut(features.main),
        cut_one(features.pooled),
        cut(features.windows),
        cut_one(features.views),
        strict=True,
    )
    return [TowerFeatures(features.grid_hw, *row) for row in rows]
