"""Frozen values that cross the seams between stages.

Axis letters used throughout ovperc: ``B`` images or tiles, ``H, W`` pixels, ``h, w`` patch grid,
``n = h * w`` patch tokens, ``p`` prefix (class or register) tokens, ``D`` width of a tower,
``E`` width of the joint image-text space, ``Q`` text queries (all prompts), ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from torch import Tensor

from ovperc.core.background import Background as Background
from ovperc.core.text_bank import TextBank as TextBank

TapPoint = Literal["in", "ln_1", "q", "k", "v", "dual", "ln_2", "out", "final", "pooled", "pooled_bare"]
TAP_POINTS: tuple[str, ...] = get_args(TapPoint)
_CLOSING_POINTS = ("final", "pooled", "pooled_bare")


@dataclass(frozen=True, order=True)
class Tap:
    """A quantity inside a tower: which block, and which point of it.

    Attributes:
        layer: block index; negative counts from the end (``-1`` is the last block).
        point: ``in`` residual stream entering the block, ``ln_1`` its normalised form, ``q k v`` the
            projections before the split into heads, ``dual`` the second path of CLIP Surgery after the block, ``ln_2``
            the normalised input of the feed-forward part, ``out`` residual stream leaving the block. In the last block
            only: ``final`` what the tower makes of it before any pooling (after the closing norm, or the neck of SAM,
            whose width may differ), ``pooled`` the tower's own image embedding, ``pooled_bare`` the class token's
            projection without the closing norm (AnomalyCLIP; the image embedding where no class token is pooled).
        blocks: of ``dual`` only: how many of the tower's last blocks the path takes part in; a tower with fewer takes
            all it has. The path is ``x_in(L - m) + sum_l W_o softmax(v_l v_l^T / sqrt(d)) v_l + b_o`` (Li et al.,
            2023, eq. 6): no feed-forward part, and nothing flows back into the tower.
    """

    layer: int
    point: str
    blocks: int = 0

    def __post_init__(self) -> None:
        if self.point not in TAP_POINTS:
            raise ValueError(f"tap point must be one of {', '.join(TAP_POINTS)}; got {self.point!r}")
        if (self.point == "dual") != (self.blocks > 0):
            raise ValueError(f"the tap dual, and no other, needs a number of blocks (-1.dual:6); got {self}")

    @classmethod
    def parse(cls, text: str) -> Tap:
        """Reads ``"-1.v"`` as block -1, point ``v``; ``"-1.dual:6"`` as the dual path of the last 6 blocks."""
        layer, _, point = text.partition(".")
        point, _, blocks = point.partition(":")
        try:
            return cls(int(layer), point, int(blocks or 0))
        except ValueError as error:
            raise ValueError(
                f"a tap is written LAYER.POINT, such as '-1.v', or '-1.dual:6' (points: {', '.join(TAP_POINTS)}); "
                f"got {text!r}"
            ) from error

    def resolve(self, depth: int) -> Tap:
        """The same tap with a layer counted from 0 in a tower of ``depth`` blocks."""
        layer = self.layer + depth if self.layer < 0 else self.layer
        if not 0 <= layer < depth:
            raise ValueError(f"tap layer {self.layer} is outside a tower of {depth} blocks")
        if self.point in _CLOSING_POINTS and layer != depth - 1:
            raise ValueError(
                f"the tap {self.point} exists in the last block only (-1.{self.point}); got layer {self.layer}"
            )
        blocks = min(self.blocks, depth)
        if self.point == "dual" and layer < depth - blocks:
            raise ValueError(f"the dual path begins at block {depth - blocks}; it cannot be read after block {layer}")
        return Tap(layer, self.point, blocks)

    def __str__(self) -> str:
        return f"{self.layer}.{self.point}" + (f":{self.blocks}" if self.blocks else "")


@dataclass(frozen=True)
class DenseFeatures:
    """The taps of a tower that were requested.

    Attributes:
        taps: resolved tap -> tokens ``(B, p + h*w, D)``, prefix tokens first, patches row-major; of ``dual`` the
            patches alone ``(B, h*w, D)``, of ``pooled`` and ``pooled_bare`` ``(B, E)``, not normalised.
        grid_hw: patch grid ``(h, w)``.
        num_prefix: number ``p`` of prefix tokens of the tower.
        depth: number of blocks of the tower, to resolve negative layers.
    """

    taps: Mapping[Tap, Tensor]
    grid_hw: tuple[int, int]
    num_prefix: int
    depth: int

    def __getitem__(self, tap: Tap | str) -> Tensor:
        tap = (Tap.parse(tap) if isinstance(tap, str) else tap).resolve(self.depth)
        if tap not in self.taps:
            raise KeyError(f"tap {tap} was not asked for; present: {', '.join(map(str, sorted(self.taps)))}")
        return self.taps[tap]

    def patches(self, tap: Tap | str) -> Tensor:
        """Patch tokens of a tap, ``(B, h*w, D)``."""
        tap = Tap.parse(tap) if isinstance(tap, str) else tap
        return self[tap] if tap.point == "dual" else self[tap][:, self.num_prefix :]

    def rows(self, batch: slice) -> DenseFeatures:
        """The features of some images of the batch."""
        return replace(self, taps={tap: tokens[batch] for tap, tokens in self.taps.items()})


@dataclass(frozen=True)
class GuideFeatures:
    """What a second tower says of tiles; its grid may be another than the first tower's.

    Attributes:
        patches: ``(B, n, C)`` unit rows.
        grid_hw: patch grid ``(h, w)``, ``n = h * w``.
        mean_similarity: ``(B,)`` float32, mean of ``patches_i . patches_j`` over all ``i, j`` of the tile, or of
            all tiles of its image.
    """

    patches: Tensor
    grid_hw: tuple[int, int]
    mean_similarity: Tensor

    def __getitem__(self, tiles: slice) -> GuideFeatures:
        return GuideFeatures(self.patches[tiles], self.grid_hw, self.mean_similarity[tiles])


@dataclass(frozen=True)
class DenseEmbeddings:
    """Patch embeddings in the joint image-text space.

    Attributes:
        patches: ``(B, E, h, w)`` float32, unit norm over ``E``.
        pooled: ``(B, E)`` float32, unit rows; present where a logit rule asks for the whole image.
        keys: ``(B, h*w, D)`` keys of the last block; present where a logit rule asks for them.
        foreground: ``(B, h, w)`` float32 logits of "some object is here"; present where a readout predicts them.
    """

    patches: Tensor
    pooled: Tensor | None = None
    keys: Tensor | None = None
    foreground: Tensor | None = None

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Patch grid ``(h, w)``."""
        return self.patches.shape[-2], self.patches.shape[-1]


@dataclass(frozen=True)
class SegmentationMap:
    """What a classifier answers for one image.

    Attributes:
        labels: ``(H, W)`` int32, index into the bank's names.
        confidence: ``(H, W)`` float32 in ``[0, 1]``, softmax probability of the winning prompt.
        notes: what happened on the way, such as how many regions a refiner redrew.
    """

    labels: Tensor
    confidence: Tensor
    notes: Mapping[str, int] = field(default_factory=dict)
