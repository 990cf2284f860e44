"""Remembered patches of normal images: nearest neighbours and the choice of a few that stand for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.core.naming import suggest

Metric = Literal["cos", "l2"]
_CHUNK = 4096


@dataclass(frozen=True)
class PatchBank:
    """Patches to compare with.

    Attributes:
        rows: ``(M, D)`` float32 or half; unit rows for ``cos``.
        metric: ``cos`` for ``1 - cosine``, ``l2`` for Euclidean distance.
        neighbours: the distance is the mean of that many nearest (fewer where the bank is smaller).
    """

    rows: Tensor
    metric: Metric = "cos"
    neighbours: int = 1

    def __post_init__(self) -> None:
        if self.metric not in get_args(Metric):
            raise ValueError(f"unknown metric {self.metric!r}; {suggest(str(self.metric), get_args(Metric))}")
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1; got {self.neighbours}")
        if self.rows.ndim != 2 or len(self.rows) == 0:
            raise ValueError("a bank needs patches (M, D) of at least one normal image; fit it with some")

    def distances(self, tokens: Tensor) -> Tensor:
        """Distance of each token to the bank, ``(..., D) -> (...)`` float32; chunked, so memory is bounded."""
        flat = tokens.reshape(-1, tokens.shape[-1]).float()
        flat = F.normalize(flat, dim=-1) if self.metric == "cos" else flat
        rows = self.rows.to(flat.device).float()
        count = min(self.neighbours, len(rows))
        pieces = []
        for part in flat.split(_CHUNK):
            table = _distance_table(part, rows, self.metric)
            nearest = table.amin(dim=1) if count == 1 else table.topk(count, dim=1, largest=False).values.mean(dim=1)
            pieces.append(nearest)
        return torch.cat(pieces).view(tokens.shape[:-1])


class BankFiller:
    """Fills a bank with bounded memory: whenever it holds twice ``keep`` patches, a coreset of them goes on.

    Args:
        metric, neighbours: of the bank.
        keep: patches that stay; None keeps all.
        dtype: of the stored rows.
    """

    def __init__(
        self, metric: Metric = "cos", neighbours: int = 1, keep: int | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self.metric, self.neighbours, self.keep, self.dtype = metric, neighbours, keep, dtype
        self._rows: list[Tensor] = []

    def add(self, tokens: Tensor) -> None:
        """Remembers ``(..., D)``.

        Raises:
            ValueError: values that are not finite.
        """
        rows = tokens.reshape(-1, tokens.shape[-1]).float()
        if not torch.isfinite(rows).all():
            raise ValueError("patches of the normal images are not finite; check the weights and the images")
        self._rows.append(F.normalize(rows, dim=-1) if self.metric == "cos" else rows.clone())
        if self.keep is not None and sum(map(len, self._rows)) >= 2 * self.keep:
            self._shrink()

    def bank(self) -> PatchBank:
        """The bank of all that was added.

        Raises:
            ValueError: nothing was added.
        """
        if not self._rows:
            raise ValueError("there are no normal images to remember; give at least one")
        self._shrink()
        return PatchBank(self._rows[0].to(self.dtype), self.metric, self.neighbours)

    def _shrink(self) -> None:
        rows = torch.cat(self._rows)
        if self.keep is not None and len(rows) > self.keep:
            rows = rows[greedy_coreset(rows, self.keep)]
        self._rows = [rows]


def fill_banks(images: Iterable[Sequence[Tensor]], **settings: Any) -> tuple[PatchBank, ...]:
    """One bank per part of the description.

    Args:
        images: for each batch of normal images, its parts, ``(B, n, D)`` each.
        **settings: of :class:`BankFiller`.

    Raises:
        ValueError: there are no images.
    """
    fillers: list[BankFiller] = []
    for parts in images:
        fillers = fillers or [BankFiller(**settings) for _ in parts]
        for filler, part in zip(fillers, parts, strict=True):
            filler.add(part)
    if not fillers:
        raise ValueError("there are no normal images to remember; give at least one")
    return tuple(filler.bank() for filler in fillers)


def _distance_table(tokens: Tensor, rows: Tensor, metric: str) -> Tensor:
    products = tokens @ rows.T
    if metric == "cos":
        return (1 - products).clamp_(min=0)
    squares = tokens.square().sum(dim=1, keepdim=True) - 2 * products + rows.square().sum(dim=1)
    return squares.clamp_(min=0).sqrt_()


def greedy_coreset(rows: Tensor, keep: int) -> Tensor:
    """k-centre greedy (Sener and Savarese, 2018; PatchCore, Roth et al., CVPR 2022, algorithm 1).

    Begins with the row farthest from the mean and always adds the row farthest from what was chosen. Choices stay on
    the device; nothing is read back before the end.

    Args:
        rows: ``(M, D)`` float32.
        keep: how many; at most ``M`` are returned.

    Returns:
        Indices, ``(min(keep, M),)`` int64, in the order of choice.
    """
    if keep < 1:
        raise ValueError(f"a coreset keeps at least 1 row; got {keep}")
    keep = min(keep, len(rows))
    squares = rows.square().sum(dim=1)
    index = _squared_distance(rows, squares, rows.mean(dim=0)).argmax()
    chosen = [index]
    gap = torch.full_like(squares, torch.inf)
    for _ in range(keep - 1):
        gap = torch.minimum(gap, _squared_distance(rows, squares, rows.index_select(0, index[None])[0]))
        gap.index_fill_(0, index[None], -1.0)  # a chosen row is not chosen again, even among equal rows
        index = gap.argmax()
        chosen.append(index)
    return torch.stack(chosen)


def _squared_distance(rows: Tensor, squares: Tensor, centre: Tensor) -> Tensor:
    return squares - 2 * (rows @ centre) + centre.square().sum()
