"""What all transformer towers share: run the stock blocks up to the last tap, and read the taps on the way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.base import DenseBackbone, merge_heads, resolve_taps, split_heads
from ovperc.core.structures import TAP_POINTS, DenseFeatures, Tap


class BlockView(ABC):
    """One stock block as a bag of parameters; holds no state of its own.

    Attributes:
        num_heads: attention heads.
        has_residual: True, a transformer block has a skip connection and a feed-forward part.
        affine_output: whether ``project_out`` is affine.
    """

    num_heads: int
    has_residual = True
    affine_output: bool

    @abstractmethod
    def ln_1(self, tokens: Tensor) -> Tensor:
        """What the attention reads; ``(B, N, D)``."""

    @abstractmethod
    def projection(self, normed: Tensor, point: str) -> Tensor:
        """``q``, ``k`` or ``v`` of ``ln_1``'s result, heads side by side; computes no other row."""

    @abstractmethod
    def attend(self, tokens: Tensor) -> Tensor:
        """The stock attention with its skip connection."""

    @abstractmethod
    def ln_2(self, tokens: Tensor) -> Tensor:
        """What the feed-forward part reads; ``(B, N, D)``."""

    @abstractmethod
    def project_out(self, tokens: Tensor) -> Tensor:
        """Output projection of the attention, and layer scale where there is one; ``(B, n, D)``."""

    @abstractmethod
    def feed_forward(self, tokens: Tensor) -> Tensor:
        """The feed-forward branch, norm included, skip connection excluded; ``(B, n, D)``."""

    @abstractmethod
    def run(self, tokens: Tensor) -> Tensor:
        """The stock block in full."""


class BlockStep:
    """One block on the walk through a tower; a point is computed when it is first read, and once.

    Points are those of :class:`Tap` up to ``out``, and ``vv``: the value-value branch ``W_o softmax(v v^T / sqrt(d))
    v + b_o`` of the patches, ``(B, n, D)``, where a step of the dual path adds. A block whose ``vv`` was read runs on
    the projections that it shares with it; others run as the stock block.

    Attributes:
        layer: the block, counted from 0.
    """

    def __init__(self, layer: int, view: BlockView, tokens: Tensor, num_prefix: int) -> None:
        self.layer = layer
        self._view = view
        self._num_prefix = num_prefix
        self._found: dict[str, Tensor] = {"in": tokens}

    def __getitem__(self, point: str) -> Tensor:
        if point not in self._found:
            self._found[point] = self._compute(point)
        return self._found[point]

    def leading(self, rows: int) -> Tensor:
        """The first ``rows`` of ``out``, ``(B, rows, D)``, without the others where they are not known yet."""
        return self["out"][:, :rows] if "out" in self._found else self._run_shared(slice(rows))

    def _compute(self, point: str) -> Tensor:
        view = self._view
        if point == "ln_1":
            return view.ln_1(self["in"])
        if point in "qkv":
            return view.projection(self["ln_1"], point)
        if point == "vv":
            value = self._heads("v")
            patches = value[:, :, self._num_prefix :]
            return view.project_out(merge_heads(F.scaled_dot_product_attention(patches, value, value)))
        if point == "attended":
            return view.attend(self["in"])
        if point == "ln_2":
            return view.ln_2(self["attended"])
        if "attended" in self._found:
            return self["attended"] + view.feed_forward(self["attended"])
        return self._run_shared(slice(None)) if "vv" in self._found else view.run(self["in"])

    def _run_shared(self, rows: slice) -> Tensor:
        """Rows of the block's output, from the projections that are known already."""
        query = self._heads("q")[:, :, rows]
        attended = F.scaled_dot_product_attention(query, self._heads("k"), self._heads("v"))
        tokens = self["in"][:, rows] + self._view.project_out(merge_heads(attended))
        return tokens + self._view.feed_forward(tokens)

    def _heads(self, point: str) -> Tensor:
        return split_heads(self[point], self._view.num_heads)


class TokenTower(DenseBackbone):
    """A tower that is an embedding followed by a list of transformer blocks.

    Attributes:
        pools_class_row: whether the image embedding reads the class token only.
        blocks_read_positions: whether blocks need positions to run (rotary tables, SAM's grid), so that tokens cannot
            be taken out of their grid.
    """

    pools_class_row: bool = False
    blocks_read_positions: bool = False

    @abstractmethod
    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int], Any]:
        """Tokens entering block 0 ``(B, p + n, D)``, the grid, and what blocks need of positions.

        The last is handed to :meth:`view`: rotary tables (timm), the grid (SAM), or None.
        """

    @abstractmethod
    def view(self, layer: int, positions: Any = None) -> BlockView:
        """Block ``layer`` (from 0); ``positions`` is needed to run it, not to read its output projections."""

    @abstractmethod
    def close(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Tap ``final``: the last block's output after the closing norm or neck; ``(B, p + n, C)``."""

    @abstractmethod
    def pool(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Tap ``pooled``: the image embedding of the last block's output, ``(B, p + n, D) -> (B, E)``.

        The class token alone, ``(B, 1, D)``, is enough where ``pools_class_row``.
        """

    def pool_bare(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Tap ``pooled_bare``, as :meth:`pool` where the tower has no class token that is pooled."""
        return self.pool(tokens, grid_hw)

    def block(self, layer: int) -> BlockView:
        """The block's parameters; ``layer`` may be negative."""
        return self.view(self._resolve_layer(layer))

    def walk(self, tokens: Tensor, positions: Any = None) -> Iterator[BlockStep]:
        """The blocks in order, each fed with the last one's output; a block that is not read is not run.

        Args:
            tokens: ``(B, p + n, D)`` entering block 0.
            positions: from :meth:`embed`.
        """
        step: BlockStep | None = None
        for layer in range(self.depth):
            tokens = tokens if step is None else step["out"]
            step = BlockStep(layer, self.view(layer, positions), tokens, self.num_prefix)
            yield step

    def forward_dense(self, images: Tensor, taps: Sequence[Tap | str]) -> DenseFeatures:
        """See :meth:`DenseBackbone.forward_dense`."""
        wanted = sorted(resolve_taps(taps, self.depth), key=lambda tap: (tap.layer, TAP_POINTS.index(tap.point)))
        tokens, grid_hw, positions = self.embed(images)
        dual = _DualPaths(wanted, self.depth, self.num_prefix)
        found: dict[Tap, Tensor] = {}
        for step in self.walk(tokens, positions):
            dual.add(step)
            for tap in wanted:
                if tap.layer != step.layer:
                    continue
                dual_path = tap.point == "dual"
                found[tap] = dual[tap].to(tokens.dtype) if dual_path else self._read(step, tap.point, grid_hw)
            if step.layer == wanted[-1].layer:
                break
        return DenseFeatures(found, grid_hw, self.num_prefix, self.depth)

    def encode_tokens(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """The image embedding of tokens that enter block 0, such as those of a part of an image.

        Args:
            tokens: ``(B, p + h * w, D)``.
            grid_hw: their patch grid.

        Returns:
            ``(B, E)``, not normalised.

        Raises:
            ValueError: a tower whose blocks read positions, which a part of an image does not carry.
        """
        if self.blocks_read_positions:
            raise ValueError(
                f"parts of an image need a tower with a position table; the blocks of this {type(self).__name__} read "
                "positions themselves: use a CLIP ViT"
            )
        for step in self.walk(tokens):
            last = step
        return self._read(last, "pooled", grid_hw)

    def _read(self, step: BlockStep, point: str, grid_hw: tuple[int, int]) -> Tensor:
        if point == "final":
            return self.close(step["out"], grid_hw)
        if point not in ("pooled", "pooled_bare"):
            return step[point]
        tokens = step.leading(1) if self.pools_class_row else step["out"]
        return (self.pool if point == "pooled" else self.pool_bare)(tokens, grid_hw)


class _DualPaths:
    """Sums of the dual paths that are tapped, one for each number of blocks; float32."""

    def __init__(self, wanted: Sequence[Tap], depth: int, num_prefix: int) -> None:
        self._ends = {tap.blocks: tap.layer for tap in wanted if tap.point == "dual"}  # the last tap of each path
        self._depth = depth
        self._num_prefix = num_prefix
        self._streams: dict[int, Tensor] = {}

    def add(self, step: BlockStep) -> None:
        """Adds a block's value-value branch to the paths that it takes part in."""
        for blocks, end in self._ends.items():
            start = self._depth - blocks
            if start <= step.layer <= end:
                begin = step["in"][:, self._num_prefix :].float() if step.layer == start else self._streams[blocks]
                self._streams[blocks] = begin + step["vv"]

    def __getitem__(self, tap: Tap) -> Tensor:
        return self._streams[tap.blocks]
