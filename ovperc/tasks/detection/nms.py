"""Exact non-maximum suppression where all classes share their boxes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

_FIRST_CHUNK = 8
_GROWTH = 4


def shared_box_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float = 0.5, max_detections: int = 300, score_threshold: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Greedy per-class suppression followed by the best ``max_detections`` of all classes, without a pass per class.

    Whether a candidate survives depends only on better candidates of its own class, so candidates can be walked by
    falling score over all classes at once, and the walk ends with the last survivor wanted. All classes share one
    table of overlaps.

    Args:
        boxes: ``(R, 4)`` xyxy, shared by all classes.
        scores: ``(R, C)``.
        iou_threshold: a candidate goes if it overlaps a better one of its class by more than this.
        max_detections: most survivors.
        score_threshold: only scores above it are candidates.

    Returns:
        Row of ``boxes`` and class of each survivor, int64 ``(K,)`` each, by falling score; equal scores by row, then
        by class.

    Raises:
        ValueError: shapes that do not fit, scores that are not finite, or ``max_detections`` below 1.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim != 2 or len(scores) != len(boxes):
        raise ValueError(
            f"boxes must be (R, 4) and scores (R, C) of the same R; got {tuple(boxes.shape)} and {tuple(scores.shape)}"
        )
    if max_detections < 1:
        raise ValueError(f"max_detections must be at least 1; got {max_detections}")
    flat = scores.detach().float().flatten()
    if not torch.isfinite(flat).all() or not torch.isfinite(boxes).all():
        raise ValueError("boxes and scores must be finite; some are NaN or infinite")
    total = int((flat > score_threshold).sum())
    over = (box_iou(boxes.detach().float(), boxes.detach().float()) > iou_threshold).cpu().numpy()
    classes = scores.shape[1]
    chunk = min(total, _FIRST_CHUNK * max_detections)
    found: list[int] = []
    while chunk:
        found = _walk(_best(flat, chunk, score_threshold).tolist(), over, classes, max_detections)
        if len(found) == max_detections or chunk == total:
            break
        chunk = min(total, chunk * _GROWTH)
    picked = torch.tensor(found, dtype=torch.int64, device=boxes.device)
    return picked // max(classes, 1), picked % max(classes, 1)


def _best(flat: Tensor, count: int, score_threshold: float) -> Tensor:
    """Positions of the ``count`` best, and of all that equal the last of them; by falling score, then position."""
    least = torch.topk(flat, count, sorted=True).values[-1]
    candidates = ((flat >= least) & (flat > score_threshold)).nonzero().flatten()
    return candidates[torch.sort(flat[candidates], descending=True, stable=True).indices]


def _walk(candidates: list[int], over: np.ndarray, classes: int, max_detections: int) -> list[int]:
    """Survivors among candidates sorted by falling score, at most ``max_detections``."""
    covered: dict[int, np.ndarray] = {}
    found: list[int] = []
    for candidate in candidates:
        row, label = divmod(candidate, classes)
        mask = covered.get(label)
        if mask is None:
            covered[label] = over[row].copy()
        elif mask[row]:
            continue
        else:
            mask |= over[row]
        found.append(candidate)
        if len(found) == max_detections:
            break
    return found
