"""How often a region gets its own name (CLIPSelf, Wu et al., ICLR 2024, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

TOP = (1, 5)


class RegionAccuracy:
    """Top-1 and top-5 accuracy by class, of each way to read a region.

    Counts are sums, so they can be stored and added.

    Args:
        num_classes: words that are asked for.
        views: ways to read a region, such as ``box`` and ``mask``.

    Attributes:
        hits: ``(views, 2, C)`` int64, regions whose own name is the best, and among the best five.
        seen: ``(views, C)`` int64, regions.
    """

    def __init__(self, num_classes: int, views: Sequence[str]) -> None:
        if num_classes < 1 or not views:
            raise ValueError(f"at least one class and one view are needed; got {num_classes} and {tuple(views)}")
        self.views = tuple(views)
        self.hits = torch.zeros(len(self.views), len(TOP), num_classes, dtype=torch.int64)
        self.seen = torch.zeros(len(self.views), num_classes, dtype=torch.int64)

    def update(self, view: str, scores: Tensor, labels: Tensor) -> None:
        """Counts regions.

        Args:
            view: how they were read.
            scores: ``(R, C)``, higher is better.
            labels: ``(R,)`` int64.

        Raises:
            ValueError: shapes do not fit, or scores are not finite.
        """
        classes = self.seen.shape[1]
        if scores.shape != (len(labels), classes):
            raise ValueError(f"scores must be ({len(labels)}, {classes}), regions by words; got {tuple(scores.shape)}")
        if not torch.isfinite(scores).all():
            raise ValueError("scores of regions must be finite; a region without area has none")
        self.update_ranked(view, scores.argsort(dim=1, descending=True, stable=True)[:, : max(TOP)].cpu(), labels.cpu())

    def update_ranked(self, view: str, ranked: Tensor, labels: Tensor) -> None:
        """Counts regions whose best labels, best first, are ``(R, 5)``; fewer where there are fewer words."""
        row = self.views.index(view)
        right = ranked == labels[:, None]
        for place, top in enumerate(TOP):
            self.hits[row, place].index_add_(0, labels, right[:, :top].any(dim=1).long())
        self.seen[row].index_add_(0, labels, torch.ones_like(labels))

    def add(self, other: RegionAccuracy) -> None:
        """Adds the counts of other regions."""
        if other.views != self.views or other.seen.shape != self.seen.shape:
            raise ValueError("counts are of other views or classes")
        self.hits += other.hits
        self.seen += other.seen

    def accuracy(self, view: str, top: int = 1, compat: str = "") -> Tensor:
        """``(C,)`` float64 in 0..1; NaN for classes that never occur.

        Args:
            view: how regions were read.
            top: 1 or 5.
            compat: ``clipself`` rounds each class to half precision, as CLIPSelf's code does before it averages.
        """
        row = self.views.index(view)
        values = self.hits[row, TOP.index(top)].double() / self.seen[row].double()
        if compat not in ("", "clipself"):
            raise ValueError(f"compat must be 'clipself' or empty; got {compat!r}")
        return values.half().double() if compat else values

    def scores(self, groups: Mapping[str, Sequence[int]] | None = None, compat: str = "") -> dict[str, float]:
        """Means over classes that occur, in percent: ``mAcc1.box``, ``mAcc1.box.novel``, and so on."""
        found: dict[str, float] = {}
        for view in self.views:
            for top in TOP:
                values = self.accuracy(view, top, compat)
                found[f"mAcc{top}.{view}"] = 100.0 * float(values.nanmean())
                for group, labels in (groups or {}).items():
                    found[f"mAcc{top}.{view}.{group}"] = 100.0 * float(values[list(labels)].nanmean())
        return found
