"""Memory banks of normal patches: nearest neighbours and coreset subsampling."""

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
    """A memory bank of normal patches.

    Attributes:
        rows: ``(M, D)`` float32 or float16; unit rows for ``cos``.
        metric: ``cos`` for ``1 - cosine``, ``l2`` for Euclidean distance.
        neighbours: number of nearest neighbours averaged (fewer if the bank is smaller).
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
            raise ValueError("a memory bank needs patches (M, D) of at least one normal image")

    def distances(self, tokens: Tensor) -> Tensor:
        """Distance of each token to the bank, ``(..., D) -> (...)`` float32; chunked to bound memory."""
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
    """Fills a memory bank with bounded memory: whenever it holds twice ``keep`` patches, it is reduced to a coreset.

    Args:
        metric, neighbours: settings of :class:`PatchBank`.
        keep: patches to keep; None keeps all.
        dtype: dtype of the stored rows.
    """

    def __init__(
        self, metric: Metric = "cos", neighbours: int = 1, keep: int | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self.metric, self.neighbours, self.keep, self.dtype = metric, neighbours, keep, dtype
        self._rows: list[Tensor] = []

    def add(self, tokens: Tensor) -> None:
        """Adds patches ``(..., D)``.

        Raises:
            ValueError: values are not finite.
        """
        rows = tokens.reshape(-1, tokens.shape[-1]).float()
        if not torch.isfinite(rows).all():
            raise ValueError("patches of the normal images are not finite; check the weights and the images")
        self._rows.append(F.normalize(rows, dim=-1) if self.metric == "cos" else rows.clone())
        if self.keep is not None and sum(map(len, self._rows)) >= 2 * self.keep:
            self._shrink()

    def bank(self) -> PatchBank:
        """Returns the memory bank.

        Raises:
            ValueError: no patches were added.
        """
        if not self._rows:
            raise ValueError("expected at least one normal image; got none")
        self._shrink()
        return PatchBank(self._rows[0].to(self.dtype), self.metric, self.neighbours)

    def _shrink(self) -> None:
        rows = torch.cat(self._rows)
        if self.keep is not None and len(rows) > self.keep:
            rows = rows[greedy_coreset(rows, self.keep)]
        self._rows = [rows]


def fill_banks(images: Iterable[Sequence[Tensor]], **settings: Any) -> tuple[PatchBank, ...]:
    """Builds one memory bank per tap.

    Args:
        images: for each batch of normal images, its features per tap, ``(B, n, D)`` each.
        **settings: keywords of :class:`BankFiller`.

    Raises:
        ValueError: there are no images.
    """
    fillers: list[BankFiller] = []
    for parts in images:
        fillers = fillers or [BankFiller(**settings) for _ in parts]
        for filler, part in zip(fillers, parts, strict=True):
            filler.add(part)
    if not fillers:
        raise ValueError("expected at least one normal image; got none")
    return tuple(filler.bank() for filler in fillers)


def _distance_table(tokens: Tensor, rows: Tensor, metric: str) -> Tensor:
    products = tokens @ rows.T
    if metric == "cos":
        return (1 - products).clamp_(min=0)
    squares = tokens.square().sum(dim=1, keepdim=True) - 2 * products + rows.square().sum(dim=1)
    return squares.clamp_(min=0).sqrt_()


def greedy_coreset(rows: Tensor, keep: int) -> Tensor:
    """k-centre greedy (Sener and Savarese, 2018; PatchCore, Roth et al., CVPR 2022, algorithm 1).

    Starts with the row farthest from the mean and repeatedly adds the row farthest from those selected. Runs on the
    device without synchronisation until the end.

    Args:
        rows: ``(M, D)`` float32.
        keep: number of rows; at most ``M`` are returned.

    Returns:
        Indices, ``(min(keep, M),)`` int64, in the order of selection.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1; got {keep}")
    keep = min(keep, len(rows))
    squares = rows.square().sum(dim=1)
    index = _squared_distance(rows, squares, rows.mean(dim=0)).argmax()
    chosen = [index]
    gap = torch.full_like(squares, torch.inf)
    for _ in range(keep - 1):
        gap = torch.minimum(gap, _squared_distance(rows, squares, rows.index_select(0, index[None])[0]))
        gap.index_fill_(0, index[None], -1.0)  # never select a row twice, even among duplicates
        index = gap.argmax()
        chosen.append(index)
    return torch.stack(chosen)


def _squared_distance(rows: Tensor, squares: Tensor, centre: Tensor) -> Tensor:
    return squares - 2 * (rows @ centre) + centre.square().sum()
