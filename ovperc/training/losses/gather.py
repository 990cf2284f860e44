"""Batches of all processes as one, so that a loss over pairs is the same on one process and on many."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_gather, all_gather_object, all_reduce, get_rank, get_world_size
from torch import Tensor


class _GatherBatch(torch.autograd.Function):
    """Concatenates the rows of all processes; hands back the own rows' gradient times the number of processes.

    Every process computes the same loss on the joint batch, so each already holds the whole gradient of its own
    rows; ``DistributedDataParallel`` then averages parameters' gradients, which the factor undoes.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        return torch.cat(all_gather(rows.contiguous()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        start = get_rank() * ctx.rows
        return gradient[start : start + ctx.rows] * get_world_size()


def gather_batch(rows: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks, with gradient; the tensor itself on one process.

    Every process must bring the same number of rows, and compute the same loss of the result.

    Raises:
        ValueError: processes bring different numbers of rows.
    """
    if get_world_size() == 1:
        return rows
    counts = torch.tensor([len(rows), -len(rows)], device=rows.device)
    all_reduce(counts, "max")
    if int(counts[0]) != -int(counts[1]):
        raise ValueError(
            f"every process must bring as many rows; they bring {-int(counts[1])} to {int(counts[0])}: "
            "give all processes batches of one size"
        )
    return _GatherBatch.apply(rows)


@torch.no_grad()
def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Rows of all processes without gradient, any number of each, and where this process's rows begin."""
    if get_world_size() == 1:
        return rows, 0
    parts = all_gather_object(rows.cpu())
    first = sum(len(part) for part in parts[: get_rank()])
    return torch.cat(parts).to(rows), first


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean over the values of all processes, as a loss: its averaged gradients are those of the joint mean.

    Args:
        values: any number of values on each process; none at all is allowed.

    Returns:
        Scalar float32; on several processes its mean over them is the joint mean. 0 where nobody has a value.
    """
    values = values.float().flatten()
    count = torch.tensor(float(len(values)), device=values.device)
    all_reduce(count, "sum")
    return values.sum() * (get_world_size() / count.clamp(min=1.0))
