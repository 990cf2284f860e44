"""Self-distillation: balanced assignments of a teacher, predicted by a student."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def balanced_assignments(logits: Tensor, steps: int = 3) -> Tensor:
    """Sinkhorn-Knopp (Cuturi, 2013), as in SwAV (Caron et al., 2020, section 3.1) and DINOv2.

    ``exp(logits)`` is scaled by rows and columns in turn until all prototypes are used alike, which is what
    keeps a teacher from answering the same for everything.

    Args:
        logits: ``(N, K)`` cosines over the teacher's temperature.
        steps: repetitions.

    Returns:
        ``(N, K)`` float32; rows sum to 1.
    """
    table = (logits.float() - logits.max()).exp()
    for _ in range(steps):
        table = table / table.sum(dim=0, keepdim=True).clamp(min=1e-12)
        table = table / table.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return table


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """``-sum_k t_k log softmax(l)_k``, averaged over rows.

    Args:
        logits: ``(..., K)``.
        targets: ``(..., K)``, rows sum to 1.
        weights: ``(...)``, how much each row counts; the mean is over their sum.

    Returns:
        Scalar float32; 0 where no row counts.
    """
    rows = -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1)
    if weights is None:
        return rows.mean()
    return (rows * weights).sum() / weights.sum().clamp(min=1.0)
