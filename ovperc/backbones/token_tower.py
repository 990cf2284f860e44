"""What all transformer towers share: run the stock blocks up to the last tap, and read the taps on the way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ovperc.backbones.base import DenseBackbone, resolve_taps
from ovperc.core.structures import DenseFeatures, Tap


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


class TokenTower(DenseBackbone):
    """A tower that is an embedding followed by a list of transformer blocks."""

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

    def block(self, layer: int) -> BlockView:
        """The block's parameters; ``layer`` may be negative."""
        return self.view(self._resolve_layer(layer))

    def forward_dense(self, images: Tensor, taps: Sequence[Tap | str]) -> DenseFeatures:
        """See :meth:`DenseBackbone.forward_dense`."""
        wanted = resolve_taps(taps, self.depth)
        tokens, grid_hw, positions = self.embed(images)
        last = max(tap.layer for tap in wanted)
        found: dict[Tap, Tensor] = {}
        for layer in range(last + 1):
            points = {tap.point for tap in wanted if tap.layer == layer}
            leaves = points & {"out", "final"}
            view = self.view(layer, positions)
            found.update({Tap(layer, point): value for point, value in _before_attention(view, tokens, points)})
            if "ln_2" in points:
                tokens = view.attend(tokens)
                found[Tap(layer, "ln_2")] = view.ln_2(tokens)
                if layer < last or leaves:
                    tokens = tokens + view.feed_forward(tokens)
            elif layer < last or leaves:
                tokens = view.run(tokens)
            if "out" in points:
                found[Tap(layer, "out")] = tokens
            if "final" in points:
                found[Tap(layer, "final")] = self.close(tokens, grid_hw)
        return DenseFeatures(found, grid_hw, self.num_prefix, self.depth)

    def run_blocks(self, images: Tensor) -> Tensor:
        """Output of the last block, ``(B, p + n, D)``."""
        tokens, _, positions = self.embed(images)
        for layer in range(self.depth):
            tokens = self.view(layer, positions).run(tokens)
        return tokens


def _before_attention(view: BlockView, tokens: Tensor, points: set[str]) -> list[tuple[str, Tensor]]:
    found = [("in", tokens)] if "in" in points else []
    if points & {"ln_1", "q", "k", "v"}:
        normed = view.ln_1(tokens)
        found += [("ln_1", normed)] if "ln_1" in points else []
        found += [(point, view.projection(normed, point)) for point in "qkv" if point in points]
    return found
