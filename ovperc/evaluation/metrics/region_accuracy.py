"""Region classification accuracy (CLIPSelf, Wu et al., ICLR 2024, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

TOP = (1, 5)


class RegionAccuracy:
    """Top-1 and top-5 accuracy per class and view of a region.

    Counts are additive.

    Args:
        num_classes: number of classes.
        views: how regions are pooled, such as ``box`` and ``mask``.

    Attributes:
        hits: ``(views, 2, C)`` int64, correct regions, top-1 and top-5.
        seen: ``(views, C)`` int64, regions.
    """

    def __init__(self, num_classes: int, views: Sequence[str]) -> None:
        if num_classes < 1 or not views:
            raise ValueError(f"expected at least one class and one view; got {num_classes} and {tuple(views)}")
        self.views = tuple(views)
        self.hits = torch.zeros(len(self.views), len(TOP), num_classes, dtype=torch.int64)
        self.seen = torch.zeros(len(self.views), num_classes, dtype=torch.int64)

    def update(self, view: str, scores: Tensor, labels: Tensor) -> None:
        """Counts regions.

        Args:
            view: how they were pooled.
            scores: ``(R, C)``, higher is better.
            labels: ``(R,)`` int64.

        Raises:
            ValueError: shapes do not match, or scores are not finite.
        """
        classes = self.seen.shape[1]
        if scores.shape != (len(labels), classes):
            raise ValueError(f"scores must be ({len(labels)}, {classes}), regions x classes; got {tuple(scores.shape)}")
        if not torch.isfinite(scores).all():
            raise ValueError("scores of regions must be finite; remove regions without area")
        self.update_ranked(view, scores.argsort(dim=1, descending=True, stable=True)[:, : max(TOP)].cpu(), labels.cpu())

    def update_ranked(self, view: str, ranked: Tensor, labels: Tensor) -> None:
        """Counts regions from their top labels ``(R, 5)``, best first; fewer columns if there are fewer classes."""
        row = self.views.index(view)
        right = ranked == labels[:, None]
        for place, top in enumerate(TOP):
            self.hits[row, place].index_add_(0, labels, right[:, :top].any(dim=1).long())
        self.seen[row].index_add_(0, labels, torch.ones_like(labels))

    def add(self, other: RegionAccuracy) -> None:
        """Adds the counts of other regions."""
        if other.views != self.views or other.seen.shape != self.seen.shape:
            raise ValueError("the counts have other views or classes")
        self.hits += other.hits
        self.seen += other.seen

    def accuracy(self, view: str, top: int = 1, compat: str = "") -> Tensor:
        """``(C,)`` float64 in 0..1; NaN for absent classes.

        Args:
            view: how regions were pooled.
            top: 1 or 5.
            compat: ``clipself`` rounds each class to float16 before averaging, as CLIPSelf's code does.
        """
        row = self.views.index(view)
        values = self.hits[row, TOP.index(top)].double() / self.seen[row].double()
        if compat not in ("", "clipself"):
            raise ValueError(f"compat must be 'clipself' or empty; got {compat!r}")
        return values.half().double() if compat else values

    def scores(self, groups: Mapping[str, Sequence[int]] | None = None, compat: str = "") -> dict[str, float]:
        """Means over present classes, in percent: ``mAcc1.box``, ``mAcc1.box.novel``, and so on."""
        found: dict[str, float] = {}
        for view in self.views:
            for top in TOP:
                values = self.accuracy(view, top, compat)
                found[f"mAcc{top}.{view}"] = 100.0 * float(values.nanmean())
                for group, labels in (groups or {}).items():
                    found[f"mAcc{top}.{view}.{group}"] = 100.0 * float(values[list(labels)].nanmean())
        return found
